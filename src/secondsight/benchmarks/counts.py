"""Additive counts and the metrics that are functions of their sums.

Every benchmark here reduces an answer to a few counts (right, said yes, objects named, ...) whose
sums over any set of images determine the metrics. So one vectorised function per benchmark
serves the plain score, every bootstrap resample and every seed alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def ratio(numerator: Array, denominator: Array) -> Array:
    """Elementwise quotient, 0 where the denominator is 0 (as the official scripts have it)."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    out = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    return np.divide(numerator, denominator, out=out, where=denominator != 0)


def harmonic(precision: Array, recall: Array) -> Array:
    """F1 of precision and recall."""
    return ratio(2 * precision * recall, precision + recall)


@dataclass(frozen=True)
class Counts:
    """Counts per answer, in the order of the items.

    Attributes:
        columns: For each count its values, one per item.
        predictions: For yes/no benchmarks ``"yes"``, ``"no"`` or ``"unparsed"`` per item.
        warnings: What a reader of the score should know.
    """

    columns: Mapping[str, Array]
    predictions: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()

    def totals(self) -> dict[str, Array]:
        """The sum of every column."""
        return {name: np.asarray(values.sum()) for name, values in self.columns.items()}


def from_rows(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, Array]:
    """Turns one mapping per item into one array per count."""
    return {name: np.array([float(row[name]) for row in rows]) for name in names}
