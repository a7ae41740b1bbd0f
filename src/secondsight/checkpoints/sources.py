"""The tensors of original LLaVA checkpoints, one at a time, with their base where they need one."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open

from secondsight.checkpoints.damage import in_a_line
from secondsight.checkpoints.weights import weight_files
from secondsight.errors import CheckpointError

Tensors = Iterator[tuple[str, torch.Tensor]]

ADAPTER: Final = "adapter_config.json"
"""The file by which a LoRA checkpoint is known."""

_NOT_LORA: Final = "non_lora_trainables.bin"
_PROJECTOR: Final = "mm_projector.bin"
_WRAPPING: Final = re.compile(r"^(base_model\.)?(model\.)?(?=model\.)")
"""What peft puts before the names of tensors that were trained in full."""


def shards(folder: Path) -> list[Path]:
    """The weight files of a folder, with the projector's own where there is one.

    Raises:
        CheckpointError: There are none.
    """
    found = weight_files(folder)
    projector = folder / _PROJECTOR
    if projector.is_file():
        found.append(projector)
    if not found:
        raise CheckpointError(
            f"{str(folder)!r} has a config.json but no weights (*.safetensors or "
            "pytorch_model*.bin). Is the download complete?"
        )
    return found


def tensors(folder: Path) -> Tensors:
    """The tensors of a folder, mapped from disk, shard by shard."""
    for shard in shards(folder):
        yield from tensors_in(shard)


def tensors_in(shard: Path) -> Tensors:
    """The tensors of one weight file, mapped from disk.

    Raises:
        CheckpointError: It is missing, damaged, or holds something else.
    """
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
        raise CheckpointError(f"{str(shard)!r} cannot be read: {in_a_line(error)}") from error


def tensors_with_base(folder: Path, base: Path) -> Tensors:
    """The tensors of a checkpoint that only adds to another one.

    A LoRA checkpoint's own tensors and a lone projector come after the base's and take their
    place; a delta checkpoint's are added to the base's. LoRA matrices are not among them.

    Args:
        folder: The checkpoint.
        base: The checkpoint that it adds to: the language model, or a whole LLaVA.
    """
    if (folder / ADAPTER).is_file():
        yield from tensors(base)
        if (folder / _NOT_LORA).is_file():
            for name, tensor in tensors_in(folder / _NOT_LORA):
                yield _WRAPPING.sub("", name), tensor
    elif weight_files(folder):
        yield from _summed(folder, base)
    else:
        yield from tensors(base)
        yield from tensors_in(folder / _PROJECTOR)


def _summed(folder: Path, base: Path) -> Tensors:
    """A delta's tensors with the base's added; what the base lacks (new tokens) is the delta's."""
    places = {name: shard for shard in shards(base) for name in _names(shard)}
    for name, delta in tensors(folder):
        if name not in places:
            yield name, delta
            continue
        added = _one(places[name], name)
        if added.shape[1:] != delta.shape[1:] or added.shape[0] > delta.shape[0]:
            raise CheckpointError(
                f"The tensor {name!r} has the shape {tuple(delta.shape)} in the delta "
                f"{str(folder)!r} and {tuple(added.shape)} in its base {str(base)!r}: they do not "
                "belong together."
            )
        total = delta.clone()
        total[: added.shape[0]] += added.to(delta.dtype)
        yield name, total


def _names(shard: Path) -> list[str]:
    if not shard.is_file():
        raise CheckpointError(f"{str(shard)!r} is missing. Is the download complete?")
    if shard.suffix == ".safetensors":
        with safe_open(shard, framework="pt") as file:
            return list(file.keys())
    return list(_unpickle(shard))


def _one(shard: Path, name: str) -> torch.Tensor:
    if shard.suffix == ".safetensors":
        with safe_open(shard, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
            return tensor
    return _unpickle(shard)[name]


def _unpickle(shard: Path) -> dict[str, torch.Tensor]:
    try:
        try:
            content = torch.load(shard, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # written by an old torch, in a format that cannot be mapped
            content = torch.load(shard, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise anything: KeyError, IndexError, ...
        raise CheckpointError(f"{str(shard)!r} cannot be read: {in_a_line(error)}") from error
    named = isinstance(content, dict) and all(
        isinstance(value, torch.Tensor) for value in content.values()
    )
    if not named:
        raise CheckpointError(f"{str(shard)!r} holds something else than named tensors.")
    return content
