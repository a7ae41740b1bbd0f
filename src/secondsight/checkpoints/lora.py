"""LoRA adapters, merged into their base by peft, so that decoding costs nothing extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM, LlavaForConditionalGeneration, PreTrainedModel

from secondsight.checkpoints.damage import in_a_line
from secondsight.errors import CheckpointError
from secondsight.extras import needed


def merge(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Merge an adapter into a model.

    Args:
        model: The base.
        folder: The adapter's folder, with an adapter_config.json.

    Raises:
        MissingPackageError: peft is not installed.
        CheckpointError: The adapter is damaged or belongs to another model.
    """
    with needed("lora", "A LoRA checkpoint"):
        from peft import PeftModel, get_peft_model_state_dict
        from peft.utils import load_peft_weights

    try:
        wanted = {_plain(name) for name in load_peft_weights(str(folder), device="cpu")}
        adapted: Any = PeftModel.from_pretrained(model, str(folder))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"The adapter {str(folder)!r} cannot be merged into its base: {in_a_line(error)}"
        ) from error
    lost = wanted - {_plain(name) for name in get_peft_model_state_dict(adapted)}
    if lost:
        raise CheckpointError(
            f"The adapter {str(folder)!r} has {len(lost)} tensors that its base has no place for, "
            f"{sorted(lost)[0]!r} among them. Is model_base the model that it was trained on?"
        )
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged.eval()


def _plain(name: str) -> str:
    return name.replace(".default.", ".")


def merge_original(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Merge an adapter of the original LLaVA code, whose names are the language model's own."""
    config = model.config.text_config
    shell = LlamaForCausalLM._from_config(config.__class__(**_tiny(config)))
    shell.model, shell.lm_head = model.model.language_model, model.lm_head
    shell.config = config
    merged: Any = merge(shell, folder)
    model.model.language_model, model.lm_head = merged.model, merged.lm_head


def _tiny(config: Any) -> dict[str, Any]:
    """A configuration so small that its model costs nothing; its parts are replaced at once."""
    values = dict(config.to_dict())
    values |= {"num_hidden_layers": 0, "vocab_size": 2, "intermediate_size": 1}
    values |= {"pad_token_id": None, "bos_token_id": 0, "eos_token_id": 1, "layer_types": None}
    return values
