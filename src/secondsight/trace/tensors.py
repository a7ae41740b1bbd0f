"""What a report says of a tensor: shape, type, range, and the values in its corners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

_EDGE: Final = 3
"""How many values are shown at either end, as torch does when it prints a tensor."""


@dataclass(frozen=True)
class TensorFacts:
    """A tensor in a few numbers.

    Attributes:
        shape: Its shape.
        dtype: Its type, such as ``float32``.
        device: Where it is.
        low: Smallest value.
        high: Largest value.
        mean: Mean value.
        norm: Mean Euclidean length of its rows (last dimension); None for integers.
        corners: The first and last three rows and columns of each matrix of the first batch
            entry, with None where values are left out. One matrix, or one per channel.
    """

    shape: tuple[int, ...]
    dtype: str
    device: str
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    norm: float | None = None
    corners: tuple[Any, ...] = ()


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` rather than ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def summarize(tensor: torch.Tensor, *, corners: bool = True) -> TensorFacts:
    """Put a tensor into a few numbers, so that the tensor itself need not be kept.

    Args:
        tensor: A tensor of any shape.
        corners: Whether to keep the values in the corners.
    """
    shape, dtype, device = tuple(tensor.shape), dtype_name(tensor.dtype), str(tensor.device)
    if tensor.numel() == 0:
        return TensorFacts(shape, dtype, device)
    values = tensor.detach().to(torch.float32)
    floating = tensor.is_floating_point()
    low, high = values.aminmax()
    return TensorFacts(
        shape=shape,
        dtype=dtype,
        device=device,
        low=_number(low, floating),
        high=_number(high, floating),
        mean=_number(values.mean(), True),
        norm=_number(values.norm(dim=-1).mean(), True) if floating and values.ndim > 1 else None,
        corners=_corners(values, floating) if corners else (),
    )


def _corners(values: torch.Tensor, floating: bool) -> tuple[Any, ...]:
    while values.ndim > 3 or (values.ndim == 3 and values.shape[0] == 1):
        values = values[0]
    for dimension in range(max(values.ndim - 2, 0), values.ndim):
        values = values.index_select(dimension, _edges(values.shape[dimension], values.device))
    return tuple(_listed(values.cpu(), floating))


def _edges(size: int, device: torch.device) -> torch.Tensor:
    shown = range(size)
    if size > 2 * _EDGE:
        shown_ends = [*shown[:_EDGE], *shown[-_EDGE:]]
        return torch.tensor(shown_ends, device=device)
    return torch.tensor(list(shown), device=device)


def _listed(values: torch.Tensor, floating: bool) -> list[Any]:
    if values.ndim > 1:
        return [_listed(row, floating) for row in values]
    return [_number(value, floating) for value in values]


def _number(value: torch.Tensor, floating: bool) -> float:
    number = float(value)
    return float(f"{number:.6g}") if floating else int(number)
