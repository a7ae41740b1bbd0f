"""What length alone explains: adjusted differences, and what cutting captions short would reach.

Pure functions of arrays, one row per weighting of the images, so that the plain figure and every
bootstrap resample are computed alike.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secondsight.benchmarks.counts import Array, ratio

_EXPLAINED = 1e-9
"""Share of the variation in length below which there is none but rounding."""


def adjusted_differences(
    lengths: Array, values: Array, weights: Array, reference: int
) -> tuple[Array, Array]:
    """What methods differ by beyond what the lengths of their answers explain.

    Least squares of ``value = effect of the item + effect of the method + slope * length``, fitted
    over all answers to the same items. A method's effect minus the reference's is its mean
    residual once items and length are accounted for, where the reference's is zero::

        (mean value - reference's mean value) - slope * (mean length - reference's mean length)

    The slope is that of deviations from the means of item and method (Frisch and Waugh 1933), so
    nothing is inverted and every weighting costs a few products.

    Args:
        lengths: Lengths of the answers, shaped (items, methods, seeds).
        values: What is explained, shaped alike.
        weights: How often each item counts, shaped (weightings, items); no row may be all zero.
        reference: Index of the method that the others are held against.

    Returns:
        The slopes, shaped (weightings), 0 where lengths do not vary beyond items and methods; and
        the differences, shaped (weightings, methods).
    """
    seeds, total = lengths.shape[2], weights.sum(axis=1)
    length, value = (given - given.mean(axis=(1, 2), keepdims=True) for given in (lengths, values))
    mean_length, mean_value = (
        weights @ given.mean(axis=2) / total[:, None] for given in (length, value)
    )
    all_squares = weights @ (length**2).sum(axis=(1, 2))
    squares = all_squares - seeds * total * (mean_length**2).sum(axis=1)
    products = weights @ (length * value).sum(axis=(1, 2))
    products = products - seeds * total * (mean_length * mean_value).sum(axis=1)
    slopes = ratio(products, np.where(squares > _EXPLAINED * all_squares, squares, 0.0))
    adjusted = mean_value - slopes[:, None] * mean_length
    return slopes, adjusted - adjusted[:, [reference]]


def on_frontier(recall: Array, errors: Array) -> npt.NDArray[np.bool_]:
    """Which points no other beats, with as much recall and fewer errors, or more and as few.

    Args:
        recall: More is better, shaped (points).
        errors: Less is better, shaped alike.

    Returns:
        Booleans, shaped alike; of equal points all are on it.
    """
    above = recall[:, None] >= recall
    below = errors[:, None] <= errors
    strictly = (recall[:, None] > recall) | (errors[:, None] < errors)
    return np.asarray(~(above & below & strictly).any(axis=0))


def frontier_errors(recall: Array, baseline_recall: Array, baseline_errors: Array) -> Array:
    """The fewest errors that baselines reach at a recall.

    Between two neighbours on the baselines' frontier it is interpolated linearly. Left of all of
    it the errors are those of its first point: keeping silent about some images lowers recall
    and leaves a share of errors as it is. Right of all, where no baseline gets, they are those of
    its last point, which asks no less than they reached anywhere.

    Args:
        recall: Where, shaped (weightings, points).
        baseline_recall: The baselines' recall, shaped (weightings, baselines).
        baseline_errors: Their errors, shaped alike.

    Returns:
        The errors, shaped (weightings, points).
    """
    at, x, y = recall[:, :, None], baseline_recall[:, None, :], baseline_errors[:, None, :]
    # The frontier's next point to the right: of those that recall as much, the one that errs least.
    farthest = x.max(axis=2, keepdims=True)
    enough = x >= np.minimum(at, farthest)
    right_y = np.where(enough, y, np.inf).min(axis=2, keepdims=True)
    right_x = np.where(enough & (y == right_y), x, -np.inf).max(axis=2, keepdims=True)
    # To the left: of those that err less still, which all recall less, the one that recalls most.
    fewer = y < right_y
    left_x = np.where(fewer, x, -np.inf).max(axis=2, keepdims=True)
    left_y = np.where(fewer & (x == left_x), y, np.inf).min(axis=2, keepdims=True)
    known = np.isfinite(left_x)
    left_x, left_y = np.where(known, left_x, right_x), np.where(known, left_y, right_y)
    share = np.clip(ratio(at - left_x, right_x - left_x), 0.0, 1.0)
    return np.asarray((left_y + share * (right_y - left_y))[:, :, 0])
