"""Intervals and tests, by scipy and statsmodels.

Questions about one image are not independent, so everything is resampled by image. Several
seeds of one method are no more questions: they are averaged, never counted as further evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secondsight.extras import needed

with needed("eval", "A comparison of methods"):
    from scipy.stats import bootstrap, norm
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 9999
_BATCH = 512

ROUNDING = 1e-9
"""Differences below this are the rounding of sums, not effects."""


@dataclass(frozen=True)
class Resampled:
    """Bootstrap of several quantities over the same resamples of images.

    Attributes:
        low: Lower ends of the percentile intervals, one per quantity.
        high: Upper ends.
        error: Standard errors.
        draws: The quantities in each resample, shaped (quantities, resamples).
    """

    low: Array
    high: Array
    error: Array
    draws: Array


def resample_images(
    quantities: Callable[[Array], Array], images: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled | None:
    """Percentile bootstrap over images.

    Args:
        quantities: From weights shaped (resamples, images), which say how often each image was
            drawn, to quantities shaped (quantities, resamples).
        images: How many images there are.
        resamples: How many resamples to draw.
        seed: Seeds the resampling.

    Returns:
        The intervals, or None with fewer than two images, where there is nothing to resample.
    """
    if images < 2:
        return None

    def statistic(indices: npt.NDArray[np.int64], axis: int = -1) -> Array:
        rows = np.atleast_2d(indices)
        offsets = images * np.arange(len(rows))[:, None]
        drawn = np.bincount((rows + offsets).ravel(), minlength=images * len(rows))
        found = quantities(drawn.reshape(len(rows), images).astype(np.float64))
        return found if indices.ndim > 1 else found[:, 0]

    result = bootstrap(
        (np.arange(images),),
        statistic,
        n_resamples=resamples,
        batch=_BATCH,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    return Resampled(
        np.asarray(interval.low),
        np.asarray(interval.high),
        np.asarray(result.standard_error),
        np.asarray(result.bootstrap_distribution),
    )


def settled(values: Array) -> Array:
    """Values without the rounding around zero, so that no difference is none."""
    return np.where(np.abs(values) < ROUNDING, 0.0, values)


def bootstrap_p(draws: Array) -> float:
    """Two-sided p-value of a paired bootstrap: how rarely a resampled difference crosses 0."""
    crossed = min(int(np.sum(draws <= 0)), int(np.sum(draws >= 0)))
    return min(1.0, 2 * (crossed + 1) / (len(draws) + 1))


def mcnemar_p(gained: float, lost: float) -> float:
    """Exact McNemar test.

    Args:
        gained: Questions that only the method answers right, averaged over seeds.
        lost: Questions that only the other answers right, averaged over seeds.
    """
    table = [[0, round(gained)], [round(lost), 0]]
    return float(mcnemar(table, exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction over all comparisons of a table."""
    if not p_values:
        return []
    return [float(p) for p in multipletests(p_values, method="holm")[1]]


def mcnemar_error(gained: float, lost: float, questions: int) -> float:
    """Standard error of a difference of two accuracies on the same questions."""
    difference = (gained - lost) / questions
    return math.sqrt(((gained + lost) / questions - difference**2) / questions)


def images_needed(difference: float, error: float, images: int, tests: int = 1) -> int | None:
    """Images needed to tell a difference of this size from none, with a power of 0.8.

    Args:
        difference: The difference observed.
        error: Its standard error.
        images: The images that it was observed on.
        tests: The comparisons that share the error rate of 0.05, as Holm's first step has it.

    Returns:
        The number, or None where no difference was observed, or none that varies.
    """
    if abs(difference) < ROUNDING or error < ROUNDING:
        return None
    # The normal approximation for a paired difference; statsmodels' solver gives up where few
    # images are enough.
    quantiles = float(norm.ppf(1 - (1 - CONFIDENCE) / 2 / tests) + norm.ppf(POWER))
    return math.ceil(images * (quantiles * error / difference) ** 2)
