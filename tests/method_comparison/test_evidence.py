"""What the views know, against values worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from secondsight import Model

evidence = pytest.importorskip("evidence")


def mention(image: str, true: bool, **views: float) -> dict[str, Any]:
    every = {"original": -1.0, "transformed": -1.0, "noised": -1.0, "no image": -1.0}
    return {"image": image, "true": true, "step": 0, "views": every | views}


def test_a_witness_says_what_regular_decoding_says(
    model: Model, make_image: Callable[..., Image.Image]
) -> None:
    asked: dict[str, Any] = {"temperature": 1.0, "seed": 3, "max_new_tokens": 12}
    seen = model.answer(make_image(), "Is there a cat?", evidence.Witness(), evidence=True, **asked)
    assert seen.ids == model.answer(make_image(), "Is there a cat?", "regular", **asked).ids
    assert seen.evidence is not None
    assert set(seen.evidence[0].view_probabilities) == {
        evidence.ORIGINAL, evidence.TRANSFORMED, evidence.NOISED, evidence.NO_IMAGE,
    }  # fmt: skip


def test_two_scenes_are_asked_about(tmp_path: Path) -> None:
    evidence.gather("test", 2, tmp_path)
    found = json.loads((tmp_path / "evidence-test.json").read_text())
    assert found["what"]["scenes"] == 2
    assert {one["image"] for one in found["mentions"]}
    assert {one["label"] for one in found["answers"]} <= {"yes", "no"}
    assert found["consulted"]["asked"] == 2


def test_areas_count_pairs() -> None:
    # Original: true -1, -3; made up -2, -3: above, above, below, equal: 2.5 of 4.
    # VCD doubles the contrast with noise: true 2(-1)+1 = -1, 2(-3)+9 = 3; made up -3, -5: 4 of 4.
    found = evidence.telling(
        [
            mention("a", True),
            mention("b", True, original=-3.0, noised=-9.0),
            mention("c", False, original=-2.0, noised=-1.0),
            mention("d", False, original=-3.0, noised=-1.0),
        ]
    )
    assert found["original alone"].value == 2.5 / 4
    assert found["vcd"].value == 1.0
    assert found["vcd - original"].value == pytest.approx(1.5 / 4)
    assert found["m3id"].value == found["original alone"].value  # weight 0 at the first token
    assert 0 <= found["original alone"].low <= found["original alone"].high <= 1


def test_one_kind_alone_has_no_area() -> None:
    assert evidence.telling([mention("a", True)]) is None


def test_shares_that_follow_the_prior() -> None:
    words = [
        mention("a", True, **{"no image": -0.5}), mention("a", True), mention("b", True),
        mention("b", False, **{"no image": -0.5}),
    ]  # fmt: skip
    shares = evidence.prior_shares(words)
    assert shares["true"].value == pytest.approx(1 / 3)
    assert shares["made up"].value == 1
    assert shares["made up"].low is None  # one image: nothing to resample
    assert str(shares["made up"]) == "1.00 (of 1)"
    said = [
        {"image": "a", "label": "no", "said": "yes", "views": {"no image": 0.9}},
        {"image": "b", "label": "no", "said": "no", "views": {"no image": 0.9}},
        {"image": "b", "label": "yes", "said": "yes", "views": {"no image": 0.6}},
    ]
    errors = evidence.prior_of_errors(said)
    assert errors["wrong"].value == 1
    assert errors["right"].value == 0.5


@pytest.mark.parametrize("images", [evidence.FEW - 1, evidence.FEW])
def test_few_images_have_no_interval_and_no_verdict(images: int) -> None:
    from findings import reading

    answers = [
        {"image": str(n), "label": "no", "said": said, "views": {"no image": 0.9}}
        for n in range(images)
        for said in ("yes", "no")
    ]
    found = {"mentions": [], "answers": answers, "consulted": {"asked": 0, "named": 0}}
    text = reading({"test": found})[0]
    if images < evidence.FEW:
        few = f"1.00 (of {images}) against 0.00 (of {images})"
        assert f"there are too few wrong yes/no answers to judge ({few})" in text
    else:
        assert "wrong yes/no answers follow the prior more than the others" in text
