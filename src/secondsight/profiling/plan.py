"""Who is timed when: all schemes take turns, so that a machine that drifts favours none."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from secondsight.inference.model import Model
from secondsight.methods import Method

Key = tuple[str, str]
"""A method and a scheme."""

REGULAR: Final[Key] = ("regular", "regular")
"""transformers' own regular decoding, which everything is compared with."""

ENGINE: Final[Key] = ("regular", "engine")
"""Regular decoding by our engine: what of a gain is not the method's schedule."""


@dataclass(frozen=True)
class Plan:
    """What is timed, and how often."""

    model: Model
    methods: Sequence[Method]
    schemes: Sequence[str]
    repeats: int
    warmup: int
    progress: Callable[[str], None]

    def stages(self, workload: str, tasks: Iterable[Key]) -> Iterator[tuple[int, Key]]:
        """Every task in turn, repeat by repeat; those below 0 do not count."""
        for repeat in range(-self.warmup, self.repeats):
            for key in tasks:
                stage = "warm-up" if repeat < 0 else f"{repeat + 1} of {self.repeats}"
                self.progress(f"{workload}, {stage}: {key[0]}, {key[1]}")
                yield repeat, key


def paired_ratio(ours: Sequence[float], base: Sequence[float]) -> float:
    """Median of the ratios within each repeat, which a drift of the machine does not touch."""
    return statistics.median(a / b for a, b in zip(ours, base, strict=True))
