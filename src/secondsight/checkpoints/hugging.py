"""Checkpoints in Hugging Face's layout: LLaVA-1.5 and every other image-text-to-text model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)

from secondsight.checkpoints.chat import ChatEncoder
from secondsight.checkpoints.damage import damaged_as_errors, in_a_line
from secondsight.checkpoints.families import FAMILIES, REFUSED
from secondsight.checkpoints.hub import Checkpoint, present_weights
from secondsight.checkpoints.kinds import refuse_other_kinds
from secondsight.checkpoints.memory import check_fits, measure
from secondsight.checkpoints.placement import Placement
from secondsight.errors import CheckpointError, UnsupportedError


def stored_dtype(config: Mapping[str, Any]) -> torch.dtype:
    """The type that a config.json says its weights have."""
    text = config.get("text_config") or {}
    named = config.get("dtype") or config.get("torch_dtype") or text.get("torch_dtype")
    dtype = getattr(torch, str(named).removeprefix("torch."), None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def load_weights(
    model_class: Any,
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    placement: Placement,
    *,
    strict: bool = True,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load a model's weights, every one of them.

    Args:
        model_class: The class, or one of transformers' Auto classes.
        checkpoint: The checkpoint.
        config: Its config.json.
        placement: Where the weights go.
        strict: Whether weights that the model has no place for are an error.
        trust_remote_code: Whether the checkpoint's own code may run.

    Raises:
        CheckpointError: Weights are missing, unexpected, misshapen or damaged, or too large.
    """
    files = present_weights(checkpoint)
    _check_vocabulary(checkpoint, config)
    stored = stored_dtype(config)
    check_fits(checkpoint.name, measure(files, stored).weights, stored, placement)
    folder = checkpoint.folder
    with damaged_as_errors(checkpoint.name):
        model, report = model_class.from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name
            weights_only=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            **placement.for_transformers(stored),
        )
    _check_report(report, folder, strict)
    model = model if placement.spread else model.to(placement.device)
    loaded: PreTrainedModel = model.eval()
    return loaded


def _check_vocabulary(checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Refuse a padding id outside the vocabulary, which torch would trip over without a word."""
    text = config.get("text_config") or config
    size, pad = text.get("vocab_size"), text.get("pad_token_id")
    if isinstance(size, int) and isinstance(pad, int) and pad >= size:
        raise CheckpointError(
            f"The config.json of {checkpoint.name!r} promises a vocabulary of {size}, and pads "
            f"with the id {pad}: they do not belong together."
        )


def _check_report(report: Mapping[str, Any], folder: Path, strict: bool) -> None:
    for name, have, want in sorted(report["mismatched_keys"]):
        raise CheckpointError(
            f"The tensor {name!r} of {str(folder)!r} has the shape {tuple(have)}; its "
            f"configuration asks for {tuple(want)}."
        )
    unexpected = report["unexpected_keys"] if strict else ()
    for problem, names in (
        ("lacks", report["missing_keys"]),
        ("has unexpected", unexpected),
    ):
        if names:
            raise CheckpointError(
                f"{str(folder)!r} {problem} tensors: {', '.join(sorted(names)[:5])}"
                + (f" and {len(names) - 5} more." if len(names) > 5 else ".")
            )


def load_by_processor(
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    placement: Placement,
    *,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, ProcessorMixin, type[ChatEncoder]]:
    """Load a model of any family, with its processor and its family's encoder.

    Args:
        checkpoint: The checkpoint.
        config: Its config.json.
        placement: Where the weights go.
        trust_remote_code: Whether the checkpoint's own code may run.

    Raises:
        CheckpointError: Another kind of model, or a damaged one.
        UnsupportedError: A family that cannot be decoded with views.
    """
    kind = str(config.get("model_type"))
    encoder = FAMILIES.find(kind)
    if encoder is None or encoder.model_class is None:
        refuse_other_kinds(checkpoint, config, trust_remote_code)
    if encoder is None and kind in REFUSED:
        raise UnsupportedError(
            f"{checkpoint.name!r} is a {kind} model, which is refused: {REFUSED[kind]}."
        )
    # Said outright: left out, transformers would ask on the terminal.
    code = {"trust_remote_code": trust_remote_code}
    with damaged_as_errors(checkpoint.name):
        parsed = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, **code)
    encoder = encoder or ChatEncoder
    model_class = encoder.model_class or AutoModelForImageTextToText
    _refuse_other_loops(checkpoint, parsed, model_class)
    _refuse_uneven_images(checkpoint, parsed)
    processor = _processor(checkpoint, code)
    model = load_weights(
        model_class,
        checkpoint,
        config,
        placement,
        strict=False,
        trust_remote_code=trust_remote_code,
    )
    return model, processor, encoder


def _refuse_uneven_images(checkpoint: Checkpoint, config: PreTrainedConfig) -> None:
    """Refuse a SmolVLM whose images transformers cannot put into a prompt before 5.21."""
    if config.model_type != "smolvlm" or Version(transformers.__version__) >= Version("5.21"):
        return
    vision = config.vision_config
    tokens = (vision.image_size // vision.patch_size // config.scale_factor) ** 2
    if tokens % vision.patch_size:
        raise UnsupportedError(
            f"{checkpoint.name!r} has {tokens} tokens an image, which transformers "
            f"{transformers.__version__} cannot divide by {vision.patch_size}: "
            'pip install "transformers>=5.21,<6".'
        )


def _refuse_other_loops(checkpoint: Checkpoint, config: PreTrainedConfig, model_class: Any) -> None:
    """Refuse models that do not generate as the loop does."""
    if config.is_encoder_decoder or config.get_text_config(decoder=True).is_encoder_decoder:
        raise UnsupportedError(
            f"{checkpoint.name!r} is an encoder-decoder model ({config.model_type}): its views "
            "would need an encoder pass and a cross-attention cache each, which secondsight does "
            "not have. Decoder-only vision-language models work."
        )
    kinds = set(getattr(config.get_text_config(decoder=True), "layer_types", None) or ())
    recurrent = sorted(kind for kind in kinds if not kind.endswith("attention") or "linear" in kind)
    if recurrent:
        raise UnsupportedError(
            f"{checkpoint.name!r} has {', '.join(recurrent)} layers, which keep a recurrent state "
            "that cannot fall behind and catch up as views do; attention layers can."
        )
    mapping = getattr(model_class, "_model_mapping", {})
    concrete = mapping.get(type(config), model_class)
    own = getattr(concrete, "generate", None)
    if own is not None and own is not GenerationMixin.generate:
        raise UnsupportedError(
            f"{checkpoint.name!r} generates by code of its own ({concrete.__name__}.generate), "
            "which leaves no place for views."
        )


def _processor(checkpoint: Checkpoint, code: Mapping[str, bool]) -> ProcessorMixin:
    """The family's processor, with the PIL backend for images where there is a choice."""
    folder = checkpoint.folder
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, **code)
        if not isinstance(processor, ProcessorMixin):
            raise CheckpointError(
                f"{checkpoint.name!r} has no processor for both images and text "
                "(processor_config.json or preprocessor_config.json and a tokenizer)."
            )
        if hasattr(processor, "image_processor"):
            processor.image_processor = AutoImageProcessor.from_pretrained(
                folder, backend="pil", local_files_only=True, **code
            )
    except ImportError as error:
        raise CheckpointError(
            f"The processor of {checkpoint.name!r} needs another package: {in_a_line(error)}"
        ) from error
    except (OSError, ValueError, TypeError, RuntimeError, AttributeError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        where = "" if checkpoint.revision is None else f" {checkpoint.fetch}"
        raise CheckpointError(
            f"{checkpoint.name!r} has no processor that can be read: {in_a_line(error)}{where}"
        ) from error
    return processor
