"""Intervals and tests against slow and closed-form versions."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondsight.benchmarks.statistics import (
    bootstrap_p,
    holm,
    images_needed,
    mcnemar_error,
    mcnemar_p,
    resample_images,
    settled,
)


def test_intervals_equal_an_obvious_bootstrap_within_noise() -> None:
    rng = np.random.default_rng(0)
    right, asked = rng.integers(0, 4, 60).astype(float), np.full(60, 3.0)
    found = resample_images(lambda w: ((w @ right) / (w @ asked))[None], 60, resamples=4000)
    assert found is not None
    slow = []
    for _ in range(4000):
        drawn = rng.integers(0, 60, 60)
        slow.append(right[drawn].sum() / asked[drawn].sum())
    assert found.low[0] == pytest.approx(np.quantile(slow, 0.025), abs=0.01)
    assert found.high[0] == pytest.approx(np.quantile(slow, 0.975), abs=0.01)
    assert found.error[0] == pytest.approx(np.std(slow), rel=0.06)


def test_every_resample_draws_as_many_images_as_there_are() -> None:
    seen = []
    resample_images(lambda w: (seen.append(w), w[:, :1].T)[1], 7, resamples=600)
    assert all((weights.sum(axis=1) == 7).all() for weights in seen)
    assert sum(len(weights) for weights in seen) >= 600


def test_intervals_are_the_same_each_time_and_absent_for_one_image() -> None:
    def quantity(weights):
        return (weights @ np.arange(5.0))[None]

    first, second = (resample_images(quantity, 5, resamples=300) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.draws.tolist() == second.draws.tolist()
    assert resample_images(lambda w: w.T, 1) is None


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test_of_the_discordant(gained: int, lost: int) -> None:
    total, fewer = gained + lost, min(gained, lost)
    tail = sum(comb(total, k) for k in range(fewer + 1)) / 2**total
    assert mcnemar_p(gained, lost) == pytest.approx(min(1.0, 2 * tail))


def test_holm_by_hand() -> None:
    # Sorted: 0.01 * 3, 0.02 * 2, 0.04 * 1, each at least the one before.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]) == []


def test_bootstrap_p() -> None:
    assert bootstrap_p(np.array([1.0] * 99)) == pytest.approx(2 / 100)
    assert bootstrap_p(np.zeros(99)) == 1.0
    assert bootstrap_p(np.array([-1.0, 1.0] * 50)) == 1.0


def test_mcnemar_error_by_hand() -> None:
    # 3 gained, 1 lost of 10: each difference is 1, -1 or 0; mean 0.2, mean square 0.4.
    assert mcnemar_error(3, 1, 10) == pytest.approx(((0.4 - 0.04) / 10) ** 0.5)


def test_images_needed_by_the_normal_formula() -> None:
    # (1.95996 + 0.84162)^2 * (error * sqrt(n) / difference)^2
    assert images_needed(0.01, 0.02, 100) == pytest.approx(7.8489 * 400, rel=1e-3)
    # With four comparisons alpha is 0.0125: 2.49771 in place of 1.95996.
    assert images_needed(0.01, 0.02, 100, 4) == pytest.approx(3.33933**2 * 400, rel=1e-3)
    assert images_needed(-0.01, 0.02, 100) == images_needed(0.01, 0.02, 100)
    assert images_needed(0.0, 0.02, 100) is None
    assert images_needed(0.1, 0.0, 100) is None
    assert images_needed(1e-17, 0.02, 100) is None  # the rounding of sums is no effect


def test_rounding_is_no_difference() -> None:
    draws = settled(np.array([1e-17, -1e-17, 0.0, 1e-3, -1e-3]))
    assert draws.tolist() == [0, 0, 0, 1e-3, -1e-3]
    assert bootstrap_p(settled(np.full(99, 1e-17))) == 1.0
