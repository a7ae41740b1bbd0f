"""How well doubts tell: against counting pair by pair."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("detection")

from detection import calibration_error, doubts, telling

rng = np.random.default_rng(3)
MENTIONS = [
    {
        "image": str(number % 17),
        "true": bool(rng.random() < 0.7),
        "probability": round(float(rng.random()), 2),
        "refusal": float(rng.random()),
        "token": float(rng.random()),
    }
    for number in range(120)
]


def slow_area(score: str) -> float:
    pairs = [
        1.0 if one[score] > other[score] else 0.5 if one[score] == other[score] else 0.0
        for one in MENTIONS
        if not one["true"]
        for other in MENTIONS
        if other["true"]
    ]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("score", ["probability", "refusal", "token"])
def test_the_area_counts_pairs(score: str) -> None:
    found = telling(MENTIONS, score)
    assert not isinstance(found, str)
    assert found.value == pytest.approx(slow_area(score))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_a_perfect_score_has_all_of_it() -> None:
    known = [{**one, "probability": float(not one["true"])} for one in MENTIONS]
    found = telling(known, "probability")
    assert (found.value, found.low, found.high) == (1, 1, 1)  # type: ignore[union-attr]
    assert calibration_error(known) == 0


def test_without_both_kinds_there_is_none() -> None:
    assert telling([one for one in MENTIONS if one["true"]], "token") == "-"


def test_the_error_weighs_each_tenth_by_its_names() -> None:
    def named(probability: float, true: bool) -> dict[str, object]:
        return {"image": "1", "true": true, "probability": probability}

    # One tenth: 0.15 on average, one of two made up; another: 0.9, the one made up.
    given = [named(0.1, True), named(0.19, False), named(0.9, False)]
    wanted = (2 * abs(0.145 - 0.5) + abs(0.9 - 1)) / 3
    assert calibration_error(given) == pytest.approx(wanted)
    assert calibration_error([named(1.0, False)]) == 0


def test_only_what_was_gathered_is_told(tmp_path: Path) -> None:
    assert doubts(tmp_path) == []
    found = {"what": {}, "mentions": MENTIONS}
    (tmp_path / "doubts-hard.json").write_text(json.dumps(found))
    text = "\n".join(doubts(tmp_path))
    made_up = sum(not one["true"] for one in MENTIONS)
    assert "| | `hard` |" in text
    assert f"| names, of them made up | 120, {made_up} |" in text
    assert f"| its own no | {slow_area('refusal'):.2f} [" in text
