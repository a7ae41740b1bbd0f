"""Length and frontier, against least squares with a column for everything and a search by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from statsmodels.api import OLS

from secondsight.benchmarks.lengths import adjusted_differences, frontier_errors, on_frontier


def columns(items: int, methods: int, seeds: int, reference: int) -> np.ndarray:
    """A column for each item and for each method but the reference, a row for each answer."""
    rows = []
    for item in range(items):
        for method in range(methods):
            of_item = np.eye(items)[item]
            of_method = np.delete(np.eye(methods)[method], reference)
            rows += [np.concatenate([of_item, of_method])] * seeds
    return np.array(rows)


@pytest.mark.parametrize(("methods", "seeds", "reference"), [(2, 1, 0), (4, 3, 2), (3, 2, 1)])
def test_differences_are_those_of_least_squares(methods: int, seeds: int, reference: int) -> None:
    draw = np.random.default_rng(methods)
    lengths = draw.integers(5, 60, (12, methods, seeds)).astype(float)
    values = 0.1 * lengths + draw.normal(size=lengths.shape) + np.arange(methods)[:, None]
    weights = np.stack([np.ones(12), draw.multinomial(12, np.full(12, 1 / 12))]).astype(float)
    slopes, differences = adjusted_differences(lengths, values, weights, reference)
    for number, weight in enumerate(weights):
        drawn = np.repeat(np.arange(12), weight.astype(int))  # an item as often as it was drawn
        design = np.column_stack([columns(12, methods, seeds, reference), lengths.ravel()]).reshape(
            12, methods * seeds, -1
        )[drawn]
        design = design.reshape(-1, design.shape[-1])
        there = design.any(axis=0)  # items that were drawn
        fit = OLS(values[drawn].reshape(-1), design[:, there]).fit()
        assert slopes[number] == pytest.approx(fit.params[-1])
        others = np.delete(differences[number], reference)
        assert others == pytest.approx(fit.params[-methods:-1])
        assert differences[number, reference] == 0


def test_only_length_leaves_no_difference() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, (9, 3, 2)).astype(float)
    slopes, differences = adjusted_differences(lengths, 0.25 * lengths, np.ones((1, 9)), 0)
    assert slopes == pytest.approx(0.25)
    assert differences == pytest.approx(np.zeros((1, 3)))


def test_lengths_that_do_not_vary_explain_nothing() -> None:
    lengths = np.full((5, 2, 1), 7.0) + np.arange(5)[:, None, None] - np.array([0, 3])[:, None]
    values = np.array([[[3.0], [1.0]]] * 5)
    slopes, differences = adjusted_differences(lengths, values, np.ones((1, 5)), 0)
    assert slopes == pytest.approx(0)
    assert differences[0] == pytest.approx([0, -2])


def slow_frontier(x: list[float], y: list[float]) -> list[tuple[float, float]]:
    """The points that no other beats, from the left."""
    points = sorted(set(zip(x, y, strict=True)))
    return [
        one
        for one in points
        if not any(other != one and other[0] >= one[0] and other[1] <= one[1] for other in points)
    ]


def slow_errors(at: float, x: list[float], y: list[float]) -> float:
    frontier = slow_frontier(x, y)
    return float(np.interp(at, [one[0] for one in frontier], [one[1] for one in frontier]))


shares = st.integers(0, 20).map(lambda n: n / 20)  # few, so that points often coincide
points = st.lists(st.tuples(shares, shares), min_size=1, max_size=8)


@given(points, st.lists(shares, min_size=1, max_size=5))
def test_frontier_is_that_of_a_search(
    baselines: list[tuple[float, float]], at: list[float]
) -> None:
    x, y = (list(given) for given in zip(*baselines, strict=True))
    found = frontier_errors(np.array([at]), np.array([x]), np.array([y]))[0]
    assert found == pytest.approx([slow_errors(one, x, y) for one in at])
    on = on_frontier(np.array(x), np.array(y))
    assert {(a, b) for a, b, there in zip(x, y, on, strict=True) if there} == set(
        slow_frontier(x, y)
    )


@given(points)
def test_no_baseline_is_below_its_own_frontier(baselines: list[tuple[float, float]]) -> None:
    x, y = (np.array([given]) for given in zip(*baselines, strict=True))
    distance = (y - frontier_errors(x, x, y))[0]
    assert (distance >= -1e-12).all()
    assert distance[on_frontier(x[0], y[0])] == pytest.approx(0)


@given(arrays(float, (6, 3, 2), elements=st.integers(0, 30).map(float)))
def test_weightings_do_not_disturb_each_other(lengths: np.ndarray) -> None:
    values = lengths**2
    weights = np.array([[1.0] * 6, [2.0, 0, 1, 1, 0, 2], [0, 0, 3.0, 0, 3, 0]])
    together = adjusted_differences(lengths, values, weights, 0)
    for number, weight in enumerate(weights):
        alone = adjusted_differences(lengths, values, weight[None], 0)
        assert together[0][number] == pytest.approx(alone[0][0])
        assert together[1][number] == pytest.approx(alone[1][0])
