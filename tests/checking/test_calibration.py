"""Calibration: against scikit-learn's logistic regression, on disk, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from secondsight.checking import Calibration, Calibrations, Signals, fit
from secondsight.errors import DataError


def drawn(count: int = 400) -> tuple[list[Signals], list[bool]]:
    random = np.random.default_rng(3)
    values = random.uniform(0.01, 0.99, size=(count, 3))
    signals = [Signals(*map(float, row)) for row in values]
    scores = np.array([one.features for one in signals]) @ [0.9, 0.3, -0.5] - 0.4
    return signals, [bool(one) for one in random.uniform(size=count) < 1 / (1 + np.exp(-scores))]


def test_the_fit_is_that_of_scikit_learn() -> None:
    signals, truth = drawn()
    features = np.array([one.features for one in signals])
    other = LogisticRegression(C=100.0, tol=1e-10, max_iter=10_000).fit(features, truth)
    found = fit(signals, truth)
    ours = [found.bias, found.refusal, found.views, found.token]
    assert ours == pytest.approx([float(other.intercept_[0]), *other.coef_[0]], abs=2e-3)
    chances = other.predict_proba(features)[:, 1]
    assert [found(one) for one in signals] == pytest.approx(list(chances), abs=1e-3)


def test_classes_that_are_told_apart_perfectly_have_finite_weights() -> None:
    found = fit([Signals(0.01)] * 5 + [Signals(0.99)] * 5, [False] * 5 + [True] * 5)
    assert found(Signals(0.99)) > 0.95
    assert found(Signals(0.01)) < 0.05
    assert math.isfinite(found.refusal)


def test_certainty_has_a_probability() -> None:
    surely = Calibration(bias=0.0, refusal=1000.0)
    assert surely(Signals(1.0, 0.0, 0.0)) == 1.0
    assert surely(Signals(0.0, 1.0, 1.0)) == pytest.approx(0.0)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = Calibrations({"object": Calibration(0.1, 0.2, 0.3, -0.4), "token": Calibration(1, 0)})
    made.write(tmp_path / "doubts.json")
    assert Calibrations.read(tmp_path / "doubts.json") == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"bias": 1, "refusal": 1}',
        '{"object": {"bias": "x", "refusal": 1}}',
        '{"object": {"bias": NaN, "refusal": 1}}',
        '{"animal": {"bias": 1, "refusal": 1}}',
        "[1",
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "doubts.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"doubts\.json"):
        Calibrations.read(path)


def test_one_class_is_not_enough() -> None:
    with pytest.raises(DataError, match="both"):
        fit([Signals(0.5)], [True])
