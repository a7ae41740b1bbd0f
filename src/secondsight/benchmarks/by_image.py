"""Counts of several runs summed by image, and the metrics under any weighting of the images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from secondsight.benchmarks.counts import Array, Counts
from secondsight.benchmarks.task import Item, Scorer

Name = TypeVar("Name", bound=Hashable)


def images_of(items: Sequence[Item]) -> tuple[npt.NDArray[np.int64], int]:
    """For each item the index of what the bootstrap draws with it, and how many there are."""
    index = {image: i for i, image in enumerate(dict.fromkeys(item.unit for item in items))}
    return np.array([index[item.unit] for item in items], dtype=np.int64), len(index)


class ByImage(Generic[Name]):
    """Counts of runs by image.

    Args:
        scorer: Computes metrics from sums of counts.
        items: The items.
        counts: For each run and seed the counts, in the items' order.
        seeds: The seeds, which all runs have.

    Attributes:
        images: How many images there are.
    """

    def __init__(
        self,
        scorer: Scorer,
        items: Sequence[Item],
        counts: Mapping[Name, Mapping[int, Counts]],
        seeds: Sequence[int],
    ) -> None:
        self._scorer, self._seeds = scorer, len(seeds)
        self._image_of, self.images = images_of(items)
        self._columns = tuple(next(iter(next(iter(counts.values())).values())).columns)
        # (images, seeds * columns) per run: one product with the weights gives all sums.
        self._sums = {
            name: np.concatenate([self._summed(by_seed[seed]) for seed in seeds], axis=1)
            for name, by_seed in counts.items()
        }

    def _summed(self, counts: Counts) -> Array:
        return np.stack(
            [
                np.bincount(self._image_of, weights=counts.columns[name], minlength=self.images)
                for name in self._columns
            ],
            axis=1,
        )

    def values(self, name: Name, weights: Array) -> dict[str, Array]:
        """Every metric of a run, shaped (weightings, seeds).

        Args:
            name: The run.
            weights: How often each image counts, shaped (weightings, images).
        """
        sums = (weights @ self._sums[name]).reshape(len(weights), self._seeds, len(self._columns))
        return self._scorer.metrics(
            {column: sums[:, :, index] for index, column in enumerate(self._columns)}
        )
