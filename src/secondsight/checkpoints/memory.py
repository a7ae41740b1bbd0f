"""Whether a checkpoint fits into memory, known before it is loaded."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from secondsight.checkpoints.placement import Placement
from secondsight.checkpoints.weights import listed
from secondsight.devices import free_bytes
from secondsight.errors import CheckpointError

_GIB: Final = 2**30
_DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}
_BITS: Final = {8: 1.0, 4: 0.56}
"""Bytes per weight once quantised to so many bits, scales included."""


@dataclass(frozen=True)
class Size:
    """How many weights there are, and the type that most of them are stored in."""

    weights: int
    dtype: torch.dtype


def measure(files: Iterable[Path], stored: torch.dtype) -> Size:
    """Count the weights in weight files without reading them.

    Args:
        files: The weight files.
        stored: The type of weights in files that do not tell before they are read.

    Raises:
        CheckpointError: A file is cut off or damaged.
    """
    counts: Counter[torch.dtype] = Counter()
    for path in files:
        if path.suffix == ".safetensors":
            counts += _in_safetensors(path)
        else:
            counts += _in_pickle(path, stored)
    dtype = counts.most_common(1)[0][0] if counts else stored
    return Size(counts.total(), dtype)


def _in_pickle(path: Path, stored: torch.dtype) -> Counter[torch.dtype]:
    counts: Counter[torch.dtype] = Counter()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):  # old format, or damaged: said later
        counts[stored] = path.stat().st_size // stored.itemsize
        return counts
    for value in content.values():
        if isinstance(value, torch.Tensor):
            counts[value.dtype] += value.numel()
    return counts


def _in_safetensors(path: Path) -> Counter[torch.dtype]:
    counts: Counter[torch.dtype] = Counter()
    for _, dtype, shape in listed(path):
        counts[_DTYPES.get(dtype, torch.uint8)] += math.prod(shape)
    return counts


def available_everywhere() -> int:
    """Free memory of all devices together, in bytes."""
    cards = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    devices = [torch.device("cpu"), *(torch.device("cuda", number) for number in cards)]
    return sum(map(free_bytes, devices))


def check_fits(name: str, weights: int, stored: torch.dtype, placement: Placement) -> None:
    """Refuse a model that is larger than the memory it would be loaded into.

    Args:
        name: The model's name.
        weights: How many weights it has.
        stored: The type that they are stored in.
        placement: Where they go, and as what.

    Raises:
        CheckpointError: It does not fit; the message says what would.
    """
    dtype = placement.weights_type(stored)
    quantised = _BITS[8] if placement.eight_bit else _BITS[4] if placement.four_bit else None
    needed = weights * (quantised or dtype.itemsize)
    spread = placement.device_map is not None
    free = available_everywhere() if spread else free_bytes(placement.device)
    if needed <= free:
        return
    options = {"dtype='bfloat16'": 2.0, **{f"load_in_{n}bit=True": s for n, s in _BITS.items()}}
    fitting = [
        f"{option} ({weights * size / _GIB:.1f} GiB)"
        for option, size in options.items()
        if weights * size <= min(free, needed - 1)
    ]
    largest = f"a model of up to {free / 2e9:.1f} billion weights in bfloat16"
    kind = "quantised" if quantised else str(dtype).removeprefix("torch.")
    where = "all devices together" if spread else placement.device
    raise CheckpointError(
        f"{name!r} needs {needed / _GIB:.1f} GiB of memory ({weights / 1e9:.1f} billion weights, "
        f"{kind}), and {free / _GIB:.1f} GiB are free on {where}. What would fit: "
        f"{' or '.join([*fitting, largest])}."
    )
