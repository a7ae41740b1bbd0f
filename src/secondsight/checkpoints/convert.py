"""LLaVA-1.5 between the original layout and Hugging Face's, tensor by tensor, losslessly.

Weights keep their type and every bit. What only one layout has (the original's config.json and its
recomputable buffers) travels along in two extra files, so that the way back gives the very same
tensors and configuration.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import LlavaConfig

from secondsight.checkpoints.conversion_plan import (
    BUFFERS,
    TOWER_FOLDER,
    Move,
    Output,
    plan_hugging_face,
    plan_original,
)
from secondsight.checkpoints.damage import damaged_as_errors, in_a_line
from secondsight.checkpoints.hub import Checkpoint, find, read_config
from secondsight.checkpoints.json_files import read_json
from secondsight.checkpoints.original import llava_config, refuse_other_models
from secondsight.checkpoints.sources import tensors_in
from secondsight.checkpoints.tensor_names import is_original
from secondsight.checkpoints.towers import find_vision_tower
from secondsight.errors import CheckpointError

SHARD: Final = 2 * 2**30
"""The largest weight file that is written, in bytes, and so the memory that converting takes."""

LAYOUTS: Final = ("hf", "original")

_CONFIG: Final = "original_config.json"
_JOURNAL: Final = ".conversion.json"
_COPIED: Final = (
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "preprocessor_config.json",
)

_LLAMA_KEYS: Final = (
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "vocab_size",
    "attention_bias",
    "mlp_bias",
    "head_dim",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        layout: The layout that was written.
        folder: Where.
        tensors: How many tensors were written and compared with their source, bit by bit.
        resumed: How many weight files were there already, from an interrupted run.
    """

    layout: str
    folder: Path
    tensors: int
    resumed: int


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    vision_tower: str | Path | None = None,
    shard_size: int = SHARD,
    progress: Callable[[str], None] | None = None,
) -> Conversion:
    """Write a LLaVA-1.5 checkpoint in the other layout.

    Weight files are written one at a time, each under its final name only when it is complete and
    equal to its source, so an interrupted run goes on where it stopped.

    Args:
        source: A folder or hub id, in either layout.
        destination: A folder that is new, empty, or left by an interrupted run.
        vision_tower: The CLIP tower of an original checkpoint, if it is not beside it.
        shard_size: The largest weight file, in bytes.
        progress: Told the name of every file that is there.

    Raises:
        CheckpointError: The source is no LLaVA-1.5, or damaged; the destination holds other files.
    """
    checkpoint = find(source)
    config = read_config(checkpoint)
    folder = Path(destination).expanduser()
    if is_original(config):
        layout = "hf"
        refuse_other_models(config, checkpoint.folder)
        tower = find_vision_tower(checkpoint.folder, config, vision_tower)
        outputs = plan_hugging_face(checkpoint.folder, config, tower, folder, shard_size)
    else:
        layout, tower = "original", None
        parsed = _hugging_face_config(checkpoint, config)
        former = _former(checkpoint.folder).get("model", {})
        outputs = plan_original(checkpoint.folder, config, parsed, former, folder, shard_size)
    _claim(folder, checkpoint, layout)
    written = resumed = 0
    for output in outputs:
        output.folder.mkdir(parents=True, exist_ok=True)
        for name, members in output.files:
            path = output.folder / name
            if path.is_file():
                resumed += 1
            else:
                _write(path, members)
            written += len(members)
            if progress is not None:
                progress(str(path.relative_to(folder)))
        _write_index(output)
    if tower is not None:
        _finish_hugging_face(checkpoint.folder, tower, folder, config)
    else:
        _finish_original(checkpoint.folder, folder, config, parsed)
    (folder / _JOURNAL).unlink()
    return Conversion(layout, folder, written, resumed)


def _claim(folder: Path, checkpoint: Checkpoint, layout: str) -> None:
    """Make the destination ours, or refuse one that holds anything else."""
    journal = folder / _JOURNAL
    wanted = {"source": str(checkpoint.folder.resolve()), "layout": layout}
    if journal.is_file():
        if read_json(journal) != wanted:
            raise CheckpointError(
                f"{str(folder)!r} holds an unfinished conversion of something else. Remove it, or "
                "name another folder."
            )
        return
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise CheckpointError(
            f"{str(folder)!r} exists already, and nothing is overwritten. Name a new folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    journal.write_text(json.dumps(wanted), encoding="utf-8")


def _write(path: Path, members: Iterable[Move]) -> None:
    """Write one weight file, compare it with its source bit by bit, then give it its name."""
    wanted: dict[Path, dict[str, str]] = {}
    for member in members:
        wanted.setdefault(member.source, {})[member.name] = member.renamed
    content = {
        names[name]: tensor.clone(memory_format=torch.contiguous_format)
        for source, names in wanted.items()
        for name, tensor in tensors_in(source)
        if name in names
    }
    partial = path.with_suffix(".partial")
    save_file(content, partial, metadata={"format": "pt"})
    try:
        with safe_open(partial, framework="pt") as file:
            for name, tensor in content.items():
                if not _same_bits(file.get_tensor(name), tensor):
                    raise CheckpointError(f"{name!r} did not survive being written to {path}.")
    except SafetensorError as error:
        raise CheckpointError(f"{str(path)!r} cannot be read back: {in_a_line(error)}") from error
    os.replace(partial, path)  # noqa: PTH105


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _write_index(output: Output) -> None:
    weights = [(name, group) for name, group in output.files if name != BUFFERS]
    if not weights:
        return
    index = {
        "metadata": {"total_size": sum(t.size for _, group in weights for t in group)},
        "weight_map": {t.renamed: name for name, group in weights for t in group},
    }
    _write_json(output.folder / "model.safetensors.index.json", index)


def _finish_hugging_face(source: Path, tower: Path, target: Path, config: dict[str, Any]) -> None:
    llava = llava_config(config, read_json(tower / "config.json"))
    written = llava.to_dict()
    written["architectures"] = ["LlavaForConditionalGeneration"]
    written["dtype"] = config.get("torch_dtype") or config.get("dtype")
    _copy(source, target)
    if not (target / "preprocessor_config.json").is_file():
        _copy(tower, target, only="preprocessor_config.json")
    _write_json(target / _CONFIG, {"model": config, "tower": read_json(tower / "config.json")})
    _write_json(target / "config.json", written)


def _hugging_face_config(checkpoint: Checkpoint, config: dict[str, Any]) -> LlavaConfig:
    text = config.get("text_config") or {}
    kinds = config.get("model_type"), text.get("model_type", "llama")
    if kinds != ("llava", "llama"):
        raise CheckpointError(
            f"{checkpoint.name!r} is a model of type {kinds[0]!r}: only LLaVA-1.5 on Llama has two "
            "layouts to convert between."
        )
    with damaged_as_errors(checkpoint.name):
        return LlavaConfig.from_dict(config)  # old files leave out what is a default


def _former(folder: Path) -> dict[str, Any]:
    """The configurations of model and tower in the original layout, if it ever was in it."""
    path = folder / _CONFIG
    if not path.is_file():
        return {}
    both = read_json(path)
    if not all(isinstance(both.get(key), dict) for key in ("model", "tower")):
        raise CheckpointError(f"{str(path)!r} does not hold the configurations of model and tower.")
    return both


def _finish_original(
    source: Path, target: Path, config: dict[str, Any], parsed: LlavaConfig
) -> None:
    former = _former(source)
    if former:
        model, tower = former["model"], former["tower"]
        named = Path(str(model.get("mm_vision_tower"))).name
    else:
        model, tower = _original_config(parsed, config), parsed.vision_config.to_dict()
        named = "clip"
        model["mm_vision_tower"] = named
    _copy(source, target)
    folder = target / TOWER_FOLDER
    _write_json(folder / "config.json", tower)
    if (target / "preprocessor_config.json").is_file():
        shutil.move(target / "preprocessor_config.json", folder / "preprocessor_config.json")
    if named not in ("", "..") and not (target / named).exists():
        folder.rename(target / named)
    _write_json(target / "config.json", model)


def _original_config(parsed: LlavaConfig, config: dict[str, Any]) -> dict[str, Any]:
    """The original layout's configuration of a checkpoint that never had one."""
    text = parsed.text_config.to_dict()
    return {
        **{key: text[key] for key in _LLAMA_KEYS if key in text},
        **_positions(text.get("rope_parameters") or {}),
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        "image_aspect_ratio": "pad",
        "mm_hidden_size": parsed.vision_config.hidden_size,
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": (
            "patch" if parsed.vision_feature_select_strategy == "default" else "cls_patch"
        ),
        "mm_vision_select_layer": parsed.vision_feature_layer,
        "tie_word_embeddings": bool(parsed.tie_word_embeddings),
        "torch_dtype": config.get("dtype") or config.get("torch_dtype"),
        "use_mm_proj": True,
    }


def _positions(rope: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers 5 calls rope_parameters, by the names that the original code knows."""
    scaling = {key: value for key, value in rope.items() if key not in ("rope_theta", "rope_type")}
    kind = rope.get("rope_type", "default")
    return {
        "rope_theta": rope.get("rope_theta", 10000.0),
        "rope_scaling": None if kind == "default" else {**scaling, "type": kind},
    }


def _copy(source: Path, target: Path, *, only: str | None = None) -> None:
    for name in _COPIED if only is None else (only,):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, default=str) + "\n"
    path.write_text(text, encoding="utf-8")
