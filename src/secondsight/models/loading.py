"""Loading a model: the bundled one, a local folder, or a repository on the hub."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any, Final

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import (
    LlamaTokenizer,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from secondsight.decoding.tokenizers import remember_tokenizer
from secondsight.errors import CheckpointError, UserError, nearest
from secondsight.models.llava import LlavaEncoder, image_processor
from secondsight.models.model import Model
from secondsight.models.original import is_original, load_original, memory_dtype
from secondsight.presets import Preset, preset

BUNDLED: Final = "bundled"
"""The name of the model that ships with the package."""

_FILES: Final = ["*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja"]


def load(
    model: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    vision_tower: str | Path | None = None,
    preset: str | Preset = "llava-official",
    trust_remote_code: bool = False,
) -> Model:
    """Load a vision-language model.

    Args:
        model: A local folder or a hub id of a LLaVA-1.5 checkpoint, in Hugging Face's or the
            original layout; None for the small model that ships with the package.
        device: ``auto`` (a GPU if there is one), or a torch device such as ``cuda:1`` or ``cpu``.
        dtype: ``auto`` (as stored, but no float16 on a CPU), or a torch type or its name.
        revision: A branch, tag or commit on the hub.
        vision_tower: For the original layout: folder or hub id of the CLIP tower.
        preset: The protocol, such as ``ritual-2024``; see `secondsight.presets`.
        trust_remote_code: Whether code that comes with a checkpoint may run, with all the rights
            of this process. Checkpoints of the families named here never need it.

    Returns:
        The model, ready to answer.

    Raises:
        CheckpointError: Not found, incomplete, damaged, or not a model of a supported family.
        UserError: An unknown device, type or preset.
    """
    if trust_remote_code:
        raise UserError("No supported model needs trust_remote_code; leave it out.")
    protocol = _preset(preset)
    where = _device(device)
    weights = _dtype(dtype)
    if model is None:
        folder, name, commit = bundled_folder(), BUNDLED, None
    else:
        folder, name, commit = _find(model, revision)
    config = _config(folder)
    if is_original(config):
        hf_model, tower = load_original(
            folder, config, vision_tower=vision_tower, dtype=weights, device=where
        )
    elif config.get("model_type") == "llava":
        hf_model, tower = _load_hugging_face(folder, config, weights, where), folder
    else:
        raise CheckpointError(
            f"{name!r} is a model of type {config.get('model_type')!r}, which is not supported: "
            "LLaVA-1.5 checkpoints are, in Hugging Face's or the original layout."
        )
    tokenizer = _tokenizer(folder)
    _check_vocabulary(hf_model, tokenizer, name)
    remember_tokenizer(hf_model, tokenizer)
    encoder = LlavaEncoder(
        hf_model.config, tokenizer, image_processor(tower, hf_model.config), protocol
    )
    return Model(hf_model, encoder, preset=protocol, name=name, revision=commit)


def bundled_folder() -> Path:
    """The folder of the model that ships with the package."""
    return Path(str(resources.files("secondsight.models") / "bundled"))


def _preset(name: str | Preset) -> Preset:
    return preset(name)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The device {name!r} cannot be used here: {error}") from None
    return device


_DTYPES: Final = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def _dtype(name: str | torch.dtype) -> torch.dtype | None:
    if isinstance(name, torch.dtype) or name == "auto":
        return name if isinstance(name, torch.dtype) else None
    if name not in _DTYPES:
        raise UserError(f"No dtype is called {name!r}.{nearest(name, ['auto', *_DTYPES])}")
    return _DTYPES[name]


def _find(model: str | Path, revision: str | None) -> tuple[Path, str, str | None]:
    """A checkpoint's folder, its name, and the commit that the hub gave."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path, str(model), None
    if path.is_file():
        raise CheckpointError(
            f"{str(model)!r} is a file. Name the checkpoint's folder or its id on the hub."
        )
    name = str(model)
    if isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise CheckpointError(
            f"There is no folder {name!r}, and it is not a hub id such as "
            "'llava-hf/llava-1.5-7b-hf'. Check the path."
        )
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise CheckpointError(
            f"The hub shows no model {name!r}: check the name, and if it is private or gated, "
            "accept its terms there and log in with 'hf auth login'."
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"The model {name!r} has no revision {revision!r}.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{name!r} is neither a folder nor in the local cache, and the hub cannot be reached. "
            f"Where there is a network, fetch it with 'hf download {name}'."
        ) from error
    except HFValidationError as error:
        raise CheckpointError(f"{name!r} is neither a folder nor a hub id.") from error
    return folder, name, folder.name


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{str(folder)!r} has no config.json: it is not a checkpoint's folder."
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{str(path)!r} does not hold a configuration.")
    return config


def _load_hugging_face(
    folder: Path, config: dict[str, Any], dtype: torch.dtype | None, device: torch.device
) -> LlavaForConditionalGeneration:
    if dtype is None:
        stored = config.get("dtype") or config.get("torch_dtype") or "float32"
        dtype = memory_dtype(getattr(torch, str(stored)), device)
    try:
        model, report = LlavaForConditionalGeneration.from_pretrained(
            folder,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name
            weights_only=True,
            local_files_only=True,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{str(folder)!r} cannot be loaded: {error}") from error
    for name, have, want in sorted(report["mismatched_keys"]):
        raise CheckpointError(
            f"The tensor {name!r} of {str(folder)!r} has the shape {tuple(have)}; its "
            f"configuration asks for {tuple(want)}."
        )
    for problem, names in (
        ("lacks", report["missing_keys"]),
        ("has unexpected", report["unexpected_keys"]),
    ):
        if names:
            raise CheckpointError(
                f"{str(folder)!r} {problem} tensors: {', '.join(sorted(names)[:5])}"
                + (f" and {len(names) - 5} more." if len(names) > 5 else ".")
            )
    return model.to(device).eval()


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Llama's tokenizer by name: `AutoTokenizer` gives wrong ids on the original layout."""
    try:
        tokenizer = LlamaTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{str(folder)!r} has no tokenizer that can be read (tokenizer.model or "
            f"tokenizer.json): {error}"
        ) from error
    return tokenizer


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    size = model.config.get_text_config().vocab_size
    highest = max(tokenizer.get_vocab().values())
    if highest >= size:
        raise CheckpointError(
            f"The tokenizer of {name!r} has ids up to {highest}, its model a vocabulary of {size}: "
            "they do not belong together."
        )
