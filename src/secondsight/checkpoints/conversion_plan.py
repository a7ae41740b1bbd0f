"""Which tensor of a LLaVA-1.5 checkpoint goes where in the other layout, before any is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import LlavaConfig

from secondsight.checkpoints.json_files import read_json
from secondsight.checkpoints.original import llava_config, place_of, refuse_missing, shapes
from secondsight.checkpoints.sources import shards, tensors_in
from secondsight.checkpoints.tensor_names import (
    in_tower,
    is_ignored,
    of_clip_text,
    to_original,
)
from secondsight.checkpoints.towers import brings_tower
from secondsight.checkpoints.weights import weight_files
from secondsight.errors import CheckpointError

BUFFERS: Final = "original_buffers.safetensors"
"""What only the original layout has, kept in transformers' for the way back."""

TOWER_FOLDER: Final = "vision_tower"

_TOWER: Final = "vision_model."
_OWN_TOWER: Final = "model.vision_tower.vision_tower."
"""What the original code puts before the names of a tower that it trained."""


@dataclass(frozen=True)
class Move:
    """Where a tensor is, and what it will be called."""

    source: Path
    name: str
    renamed: str
    size: int


@dataclass(frozen=True)
class Output:
    """A folder of weights to write: its files, and what goes into each."""

    folder: Path
    files: tuple[tuple[str, tuple[Move, ...]], ...]


def plan_hugging_face(
    folder: Path, config: Mapping[str, Any], tower: Path, target: Path, size: int
) -> list[Output]:
    """Plan the way from the original layout to Hugging Face's.

    Args:
        folder: The checkpoint.
        config: Its config.json.
        tower: The folder of the stock vision tower; a trained one in the checkpoint comes first.
        target: The folder to write.
        size: The largest file, in bytes.

    Raises:
        CheckpointError: A tensor is missing, unexpected, or of another shape.
    """
    expected = shapes(llava_config(config, read_json(tower / "config.json")))
    own_tower = brings_tower(config)
    weights: dict[str, Move] = {}
    kept: list[Move] = []
    for source, name, tensor in _found(shards(folder)):
        if is_ignored(name) or (in_tower(name) and not own_tower):
            kept.append(Move(source, name, name, tensor.nbytes))
        else:
            place = place_of(name, tensor, expected, folder)
            weights[place] = Move(source, name, place, tensor.nbytes)
    for source, name, tensor in _found(weight_files(tower)):
        if of_clip_text(name):
            continue
        if is_ignored(name):
            kept.append(Move(source, name, name, tensor.nbytes))
        else:
            place = place_of(name, tensor, expected, tower)
            weights.setdefault(place, Move(source, name, place, tensor.nbytes))
    refuse_missing(_needed(expected, config) - weights.keys(), expected, folder)
    extra = ((BUFFERS, tuple(kept)),) if kept else ()
    return [Output(target, extra), Output(target, _split(weights.values(), size))]


def plan_original(
    folder: Path,
    config: Mapping[str, Any],
    parsed: LlavaConfig,
    former: Mapping[str, Any],
    target: Path,
    size: int,
) -> list[Output]:
    """Plan the way from Hugging Face's layout to the original.

    Args:
        folder: The checkpoint.
        config: Its config.json.
        parsed: The same, as transformers reads it.
        former: The config.json that it had in the original layout; empty if it never had one.
        target: The folder to write; the tower goes into one inside.
        size: The largest file, in bytes.

    Raises:
        CheckpointError: A tensor is missing, unexpected, or of another shape.
    """
    expected = {to_original(name): shape for name, shape in shapes(parsed).items()}
    language: list[Move] = []
    tower: list[Move] = []
    for source, name, tensor in _found(shards(folder)):
        renamed = to_original(name)
        if not is_ignored(renamed):
            _check(renamed, name, tensor, expected, folder)
        move = Move(source, name, renamed, tensor.nbytes)
        (tower if renamed.startswith(_TOWER) else language).append(move)
    have = {move.renamed for move in (*language, *tower)}
    needed = {to_original(name) for name in _needed(shapes(parsed), config)}
    refuse_missing(needed - have, expected, folder)
    if (folder / BUFFERS).is_file():
        for source, name, tensor in _found([folder / BUFFERS]):
            move = Move(source, name, name, tensor.nbytes)
            (tower if name.startswith(_TOWER) else language).append(move)
    if brings_tower(former):
        known = {move.renamed for move in language}
        own = [Move(m.source, m.name, _OWN_TOWER + m.renamed, m.size) for m in tower]
        language += [move for move in own if move.renamed not in known]
    return [
        Output(target, _split(language, size)),
        Output(target / TOWER_FOLDER, _split(tower, size)),
    ]


def _needed(expected: Mapping[str, Any], config: Mapping[str, Any]) -> set[str]:
    """The tensors that must be there; a tied head need not."""
    return set(expected) - ({"lm_head.weight"} if config.get("tie_word_embeddings") else set())


def _check(
    renamed: str,
    name: str,
    tensor: torch.Tensor,
    expected: Mapping[str, tuple[int, ...]],
    folder: Path,
) -> None:
    if renamed not in expected:
        raise CheckpointError(f"{str(folder)!r} has an unexpected tensor {name!r}.")
    if tuple(tensor.shape) != expected[renamed]:
        raise CheckpointError(
            f"The tensor {name!r} of {str(folder)!r} has the shape {tuple(tensor.shape)}; its "
            f"configuration asks for {expected[renamed]}."
        )


def _found(files: Iterable[Path]) -> Iterator[tuple[Path, str, torch.Tensor]]:
    for file in files:
        for name, tensor in tensors_in(file):
            yield file, name, tensor


def _split(moves: Iterable[Move], size: int) -> tuple[tuple[str, tuple[Move, ...]], ...]:
    """Tensors by file, in order, no file larger than the size unless one tensor is."""
    groups: list[list[Move]] = []
    filled = size + 1
    for move in moves:
        if filled + move.size > size:
            groups.append([])
            filled = 0
        groups[-1].append(move)
        filled += move.size
    count = len(groups)
    return tuple(
        (f"model-{number:05d}-of-{count:05d}.safetensors", tuple(group))
        for number, group in enumerate(groups, 1)
    )
