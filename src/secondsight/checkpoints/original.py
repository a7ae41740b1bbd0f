"""The original LLaVA-1.5 checkpoint layout, read straight into transformers' LLaVA.

The original stores a ``LlavaLlamaForCausalLM``: Llama and projector in one set of shards, the CLIP
tower in a repository of its own. Nothing is converted on disk; tensors are renamed as they are
read, and every one of them must be there, expected, and of the right shape.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from secondsight.checkpoints.hub import Checkpoint
from secondsight.checkpoints.json_files import read_json
from secondsight.checkpoints.lora import merge_original
from secondsight.checkpoints.memory import check_fits, measure
from secondsight.checkpoints.placement import Placement
from secondsight.checkpoints.sources import (
    ADAPTER,
    Tensors,
    shards,
    tensors,
    tensors_with_base,
)
from secondsight.checkpoints.tensor_names import TOWER, in_tower, is_ignored, to_transformers
from secondsight.checkpoints.towers import brings_tower, find_vision_tower, warn_of_tower
from secondsight.checkpoints.weights import weight_files
from secondsight.errors import CheckpointError, UnsupportedError

IMAGE_PLACEHOLDER: Final = 0
"""The id that marks image slots in `input_ids`: ``<unk>``, which no text is tokenised to, so the
vocabulary needs no extra id."""


def load_original(
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    *,
    vision_tower: str | Path | None,
    placement: Placement,
    base: Checkpoint | None = None,
    local_files_only: bool = False,
) -> tuple[LlavaForConditionalGeneration, Path]:
    """Read an original LLaVA-1.5 checkpoint.

    Args:
        checkpoint: The checkpoint.
        config: Its config.json.
        vision_tower: Where the CLIP tower is, if not beside the checkpoint or on the hub.
        placement: Where the weights go, and as what; Llama's and the tower's alike.
        base: What a LoRA or delta checkpoint, or a lone projector, adds to.
        local_files_only: Whether the tower may not be fetched.

    Returns:
        The model in evaluation mode, and the vision tower's folder.

    Raises:
        CheckpointError: Another architecture; the tower is not found; a tensor is missing,
            unexpected or of another shape; the memory does not suffice.
        UnsupportedError: A LoRA checkpoint quantised or spread over devices.
    """
    folder = checkpoint.folder
    refuse_other_models(config, folder)
    _check_base(checkpoint, base)
    tower = find_vision_tower(folder, config, vision_tower, local_files_only=local_files_only)
    llava = llava_config(config, read_json(tower / "config.json"))
    files = [*shards((base or checkpoint).folder), *weight_files(tower)]
    size = measure([file for file in files if file.is_file()], torch.float16)
    check_fits(checkpoint.name, size.weights, size.dtype, placement)
    stored = tensors(folder) if base is None else tensors_with_base(folder, base.folder)
    placed = _placed(llava, folder, stored, tower, own_tower=brings_tower(config))
    lora = (folder / ADAPTER).is_file()
    if placement.spread and lora:
        raise UnsupportedError(
            "A LoRA checkpoint of the original layout is merged into its base, which then is "
            "neither quantised nor spread over devices: leave out load_in_8bit, load_in_4bit and "
            "device_map."
        )
    if placement.spread:
        model = _spread(llava, placed, placement, size.dtype)
    else:
        model = _empty(llava, placement)
        _fill(model, placed, placement)
        model.to(placement.device)  # the buffers; every parameter is there already
    if lora:
        merge_original(model, folder)
    model.generation_config = _generation_config(folder, config)
    model.config.name_or_path = str(folder)
    return model.eval(), tower


def _check_base(checkpoint: Checkpoint, base: Checkpoint | None) -> None:
    folder = checkpoint.folder
    adapter = (folder / ADAPTER).is_file()
    whole = bool(weight_files(folder))
    delta = whole and "delta" in Path(checkpoint.name).name.lower()
    if base is not None and whole and not delta and not adapter:
        raise UnsupportedError(
            f"{checkpoint.name!r} is a whole model, to which nothing is added: leave out "
            "model_base. (A delta is known by its name.)"
        )
    if base is None and (adapter or delta or not whole):
        what = "a LoRA adapter" if adapter else "a delta" if delta else "a projector"
        if not adapter and not delta and not (folder / "mm_projector.bin").is_file():
            return  # no weights at all: said when they are read
        raise CheckpointError(
            f"{checkpoint.name!r} is {what}, which adds to another model. Say which: "
            "model_base=FOLDER or hub id (for LLaVA-1.5, Vicuna-1.5 of the same size)."
        )


def refuse_other_models(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse checkpoints of the original code that are no LLaVA-1.5 on Llama."""
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
    known = {*LlamaConfig().to_dict(), "rope_theta", "rope_scaling"}  # the last two: older names
    text = {key: value for key, value in config.items() if key in known}
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


def _empty(llava: LlavaConfig, placement: Placement) -> LlavaForConditionalGeneration:
    attention = {"attn_implementation": placement.attention} if placement.attention else {}
    with init_empty_weights(include_buffers=False):
        return LlavaForConditionalGeneration._from_config(llava, **attention)


def _placed(
    llava: LlavaConfig, folder: Path, stored: Tensors, tower: Path, *, own_tower: bool
) -> Tensors:
    """Every tensor with its place in transformers' model, checked one by one.

    The tower's folder gives what the checkpoint does not bring itself: all of the tower, unless it
    was trained with the rest.

    Raises:
        CheckpointError: A tensor is unexpected, misshapen or missing.
    """
    expected = shapes(llava)
    missing = set(expected)
    if llava.tie_word_embeddings:
        missing.discard("lm_head.weight")
    passed_over: dict[str, torch.Tensor] = {}
    for name, tensor in stored:
        if is_ignored(name):
            continue
        if in_tower(name) and not own_tower:
            passed_over[to_transformers(name)] = tensor
            continue
        place = place_of(name, tensor, expected, folder)
        missing.discard(place)
        yield place, tensor
    if any(place.startswith(TOWER) for place in missing):
        for name, tensor in tensors(tower):
            if is_ignored(name):
                continue
            place = place_of(name, tensor, expected, tower)
            if place in missing:
                missing.discard(place)
                warn_of_tower(folder, passed_over.pop(place, None), tensor)
                yield place, tensor
    refuse_missing(missing, expected, folder)


def shapes(llava: LlavaConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameters of transformers' LLaVA of a configuration, by name."""
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(llava)
    return {name: tuple(value.shape) for name, value in model.named_parameters()}


def place_of(
    name: str, tensor: torch.Tensor, expected: Mapping[str, tuple[int, ...]], source: Path
) -> str:
    """A tensor's name in transformers' LLaVA.

    Args:
        name: Its name in the original checkpoint or CLIP.
        tensor: The tensor.
        expected: The shapes that the configuration asks for.
        source: The folder that it is from.

    Raises:
        CheckpointError: There is no such place, or it has another shape.
    """
    place = to_transformers(name)
    if place not in expected:
        raise CheckpointError(f"{str(source)!r} has an unexpected tensor {name!r}.")
    if tuple(tensor.shape) != expected[place]:
        raise CheckpointError(
            f"The tensor {name!r} of {str(source)!r} has the shape {tuple(tensor.shape)}; "
            f"its configuration asks for {expected[place]}."
        )
    return place


def refuse_missing(missing: Collection[str], expected: Collection[str], folder: Path) -> None:
    """Refuse a checkpoint without all of its tensors."""
    if missing:
        raise CheckpointError(
            f"{str(folder)!r} lacks {len(missing)} of {len(expected)} tensors, {min(missing)!r} "
            "among them (in transformers' naming). Is the download complete?"
        )


def _fill(model: LlavaForConditionalGeneration, placed: Tensors, placement: Placement) -> None:
    """Put every tensor into its place, one at a time."""
    dtype: torch.dtype | None = None
    for place, tensor in placed:
        dtype = dtype or placement.weights_type(tensor.dtype)
        _assign(model, place, tensor.to(device=placement.device, dtype=dtype))
    model.tie_weights()


def _spread(
    llava: LlavaConfig, placed: Tensors, placement: Placement, stored: torch.dtype
) -> LlavaForConditionalGeneration:
    """Let transformers place the tensors: over several devices, or quantised."""
    model: LlavaForConditionalGeneration = LlavaForConditionalGeneration.from_pretrained(
        None, config=llava, state_dict=dict(placed), **placement.for_transformers(stored)
    )
    return model


def _assign(model: LlavaForConditionalGeneration, name: str, tensor: torch.Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    parameter = torch.nn.Parameter(tensor, requires_grad=False)
    setattr(model.get_submodule(parent), leaf, parameter)


def _generation_config(folder: Path, config: Mapping[str, Any]) -> GenerationConfig:
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "max_length")
    return GenerationConfig(**{name: config[name] for name in names if name in config})
