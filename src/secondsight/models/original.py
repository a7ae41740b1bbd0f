"""The original LLaVA-1.5 checkpoint layout, read straight into transformers' LLaVA.

The original stores a ``LlavaLlamaForCausalLM``: Llama and projector in one set of shards, the CLIP
tower in a repository of its own. Nothing is converted on disk; tensors are renamed as they are
read, and every one of them must be there, expected, and of the right shape.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from secondsight.errors import CheckpointError

IMAGE_PLACEHOLDER: Final = 0
"""The id that marks image slots in `input_ids`: ``<unk>``, which no text is tokenised to, so the
vocabulary needs no extra id."""

_IGNORED: Final = re.compile(
    r"rotary_emb\.inv_freq$|embeddings\.position_ids$|^text_model\.|^text_projection\.|"
    r"^visual_projection\.|^logit_scale$|^model\.vision_tower\."
)
"""Tensors that are recomputed, belong to CLIP's text half, or repeat the tower."""

_PROJECTOR: Final = "model.multi_modal_projector."
_RENAMES: Final = (
    (re.compile(r"^(model\.)?mm_projector\.0\."), _PROJECTOR + "linear_1."),
    (re.compile(r"^(model\.)?mm_projector\.2\."), _PROJECTOR + "linear_2."),
    (re.compile(r"^vision_model\."), "model.vision_tower."),
    (re.compile(r"^model\.(?!multi_modal_projector\.|vision_tower\.)"), "model.language_model."),
)


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of the original LLaVA code (``mm_*`` keys and no text_config)."""
    return "mm_vision_tower" in config or "mm_hidden_size" in config


def load_original(
    folder: Path,
    config: Mapping[str, Any],
    *,
    vision_tower: str | Path | None,
    dtype: torch.dtype | None,
    device: torch.device,
) -> tuple[LlavaForConditionalGeneration, Path]:
    """Read an original LLaVA-1.5 checkpoint.

    Args:
        folder: The checkpoint's folder.
        config: Its config.json.
        vision_tower: Where the CLIP tower is, if not beside the checkpoint or on the hub.
        dtype: The weights' type in memory, of Llama and the tower alike; if None, as Llama's are
            stored, but float32 for float16 on a CPU, which computes in it slowly.
        device: Where the weights go.

    Returns:
        The model in evaluation mode, and the vision tower's folder.

    Raises:
        CheckpointError: Another architecture; the tower is not found; a tensor is missing,
            unexpected or of another shape.
    """
    _refuse_other_models(config, folder)
    tower = find_vision_tower(folder, str(config.get("mm_vision_tower")), vision_tower)
    llava = llava_config(config, _read_json(tower / "config.json"))
    with init_empty_weights(include_buffers=False):
        model = LlavaForConditionalGeneration(llava)
    _fill(model, folder, tower, dtype, device)
    model.to(device)  # the buffers; every parameter is there already
    model.generation_config = _generation_config(folder, config)
    model.config.name_or_path = str(folder)
    return model.eval(), tower


def _refuse_other_models(config: Mapping[str, Any], folder: Path) -> None:
    kind = str(config.get("model_type"))
    if kind not in ("llava", "llava_llama"):
        raise CheckpointError(
            f"{str(folder)!r} is a LLaVA on {kind!r}, which is not supported: only LLaVA-1.5 on "
            "Llama is, in this layout."
        )
    projector = config.get("mm_projector_type", "linear")
    if projector != "mlp2x_gelu":
        raise CheckpointError(
            f"{str(folder)!r} has a projector of type {projector!r}; LLaVA-1.5 has 'mlp2x_gelu'."
        )


def llava_config(config: Mapping[str, Any], tower: Mapping[str, Any]) -> LlavaConfig:
    """The transformers configuration for an original checkpoint and its vision tower.

    Args:
        config: The checkpoint's config.json.
        tower: The tower's config.json, of CLIP or of its vision half.
    """
    text = {key: config[key] for key in LlamaConfig().to_dict() if key in config}
    for key in ("architectures", "model_type", "transformers_version", "torch_dtype", "dtype"):
        text.pop(key, None)
    vision_config = tower.get("vision_config") or tower
    vision = CLIPVisionConfig(**{k: v for k, v in vision_config.items() if k != "architectures"})
    patches = (vision.image_size // vision.patch_size) ** 2
    whole = config.get("mm_vision_select_feature", "patch") == "cls_patch"
    return LlavaConfig(
        text_config=LlamaConfig(**text),
        vision_config=vision,
        image_token_index=IMAGE_PLACEHOLDER,
        image_seq_length=patches + whole,
        projector_hidden_act="gelu",
        vision_feature_layer=config.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="full" if whole else "default",
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


def find_vision_tower(folder: Path, name: str, override: str | Path | None) -> Path:
    """The folder of the CLIP tower: an override, beside the checkpoint, or from the hub.

    Raises:
        CheckpointError: It is nowhere to be found.
    """
    wanted = str(override or name)
    if override is not None and Path(override).is_dir():
        return Path(override)
    short = Path(wanted).name
    beside = (Path(wanted), folder / short, folder.parent / short, folder.parent / wanted)
    for candidate in beside:
        if (candidate / "config.json").is_file():
            return candidate
    try:
        files = [
            "config.json",
            "preprocessor_config.json",
            "*.safetensors",
            "*.bin",
            "*.index.json",
        ]
        return Path(snapshot_download(wanted, allow_patterns=files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"The vision tower {wanted!r} of {str(folder)!r} is neither beside the checkpoint nor "
            "to be had from the hub. Put it there, or say where it is: vision_tower=FOLDER."
        ) from error


def _fill(
    model: LlavaForConditionalGeneration,
    folder: Path,
    tower: Path,
    dtype: torch.dtype | None,
    device: torch.device,
) -> None:
    """Put every tensor into its place, one shard at a time."""
    expected = {name: tuple(value.shape) for name, value in model.named_parameters()}
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    missing = set(expected) - tied
    for source in (folder, tower):
        for name, tensor in _tensors(source):
            dtype = dtype or memory_dtype(tensor.dtype, device)
            if _IGNORED.search(name):
                continue
            place = rename(name)
            if place not in expected:
                raise CheckpointError(f"{str(source)!r} has an unexpected tensor {name!r}.")
            if tuple(tensor.shape) != expected[place]:
                raise CheckpointError(
                    f"The tensor {name!r} of {str(source)!r} has the shape {tuple(tensor.shape)}; "
                    f"its configuration asks for {expected[place]}."
                )
            _assign(model, place, tensor.to(device=device, dtype=dtype))
            missing.discard(place)
    if missing:
        first = sorted(missing)[0]
        raise CheckpointError(
            f"{str(folder)!r} lacks {len(missing)} of {len(expected)} tensors, {first!r} among "
            "them (in transformers' naming). Is the download complete?"
        )
    model.tie_weights()


def memory_dtype(stored: torch.dtype, device: torch.device) -> torch.dtype:
    """The type in which stored weights are kept: as they are, but no float16 on a CPU."""
    slow = stored == torch.float16 and device.type == "cpu"
    return torch.float32 if slow else stored


def rename(name: str) -> str:
    """A tensor's name in transformers' LLaVA, from its name in the original checkpoint or CLIP."""
    for pattern, replacement in _RENAMES:
        name, count = pattern.subn(replacement, name)
        if count:
            return name
    return name


def _assign(model: LlavaForConditionalGeneration, name: str, tensor: torch.Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    parameter = torch.nn.Parameter(tensor, requires_grad=False)
    setattr(model.get_submodule(parent), leaf, parameter)


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a folder, mapped from disk, shard by shard."""
    for shard in shards(folder):
        if not shard.is_file():
            raise CheckpointError(f"{str(shard)!r} is missing. Is the download complete?")
        try:
            if shard.suffix == ".safetensors":
                with safe_open(shard, framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118
                        yield name, file.get_tensor(name)
            else:
                yield from _unpickle(shard).items()
        except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise CheckpointError(f"{str(shard)!r} cannot be read: {error}") from error


def _unpickle(shard: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(shard, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # written by an old torch, in a format that cannot be mapped
        content = torch.load(shard, map_location="cpu", weights_only=True)
    if not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{str(shard)!r} holds something else than named tensors.")
    return content


def shards(folder: Path) -> list[Path]:
    """The weight files of a folder, with the projector's own where there is one.

    Raises:
        CheckpointError: There are none.
    """
    found: list[Path] = []
    for stem, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        index = folder / f"{stem}.{suffix}.index.json"
        single = folder / f"{stem}.{suffix}"
        if index.is_file():
            names = dict.fromkeys(_read_json(index)["weight_map"].values())
            found = [folder / name for name in names]
        elif single.is_file():
            found = [single]
        if found:
            break
    projector = folder / "mm_projector.bin"
    if projector.is_file():
        found.append(projector)
    if not found:
        raise CheckpointError(
            f"{str(folder)!r} has a config.json but no weights (*.safetensors or "
            "pytorch_model*.bin). Is the download complete?"
        )
    return found


def _generation_config(folder: Path, config: Mapping[str, Any]) -> GenerationConfig:
    if (folder / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(folder)
    else:
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        generation = GenerationConfig(**{name: config[name] for name in names if name in config})
    generation.max_length = None  # transformers 4.31 wrote the context length here
    return generation


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{str(path)!r} is missing. Is the download complete?") from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}") from error
    return content
