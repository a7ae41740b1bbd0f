"""OPERA on the engine against OPERA by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

import secondsight
from reference.llama import Llama
from reference.opera import Slow
from secondsight.decoding.engine import Engine
from secondsight.decoding.opera import Retrospective

QUESTION = "What is in the image?"


@pytest.mark.parametrize(
    ("official", "beams", "candidates", "weight", "threshold", "tokens"),
    [
        (False, 3, 3, 1.0, 0, 20),
        (False, 3, 4, 200.0, -1, 18),
        (False, 1, 3, 50.0, 0, 18),
        (True, 3, 4, 1.0, -1, 18),
        (True, 2, 3, 500.0, 0, 20),
    ],
)
def test_searches_and_rollbacks(
    model: secondsight.Model,
    picture: Callable[..., Image.Image],
    official: bool,
    beams: int,
    candidates: int,
    weight: float,
    threshold: int,
    tokens: int,
) -> None:
    method = secondsight.methods.create(
        f"opera:beams={beams},candidates={candidates},weight={weight},threshold={threshold},"
        f"official={str(official).lower()}"
    )
    image = picture(3)
    inputs = model.encode(image, QUESTION)
    ids = inputs["input_ids"][0].tolist()
    slot = model.hf_model.config.image_token_id
    places = [at for at, token in enumerate(ids) if token == slot]
    where = range(places[0], places[-1] + 1)
    slow = Slow(
        Llama(model.hf_model),
        ids,
        inputs["pixel_values"],
        where,
        beams,
        candidates,
        weight,
        threshold,
        official,
    )
    want = slow.run(tokens)
    engine = Engine(model.hf_model)
    request = secondsight.Request(
        secondsight.Sample(image, QUESTION), method, secondsight.Settings(max_new_tokens=tokens)
    )
    sequence = engine.add(model.prepare(request).prepared)
    while not engine.idle:
        engine.step()
    search = sequence.beams
    assert isinstance(search, Retrospective)
    assert [(one.trusted, one.to) for one in search.rollbacks] == slow.rollbacks
    assert slow.rollbacks or threshold == 0 or official
    length = tokens + (len(ids) - len(places) + 1 if official else 0)
    assert [one.ids for one in sequence.found] == [ids for ids, _ in want]
    scores = [score / length for _, score in want]
    assert [one.score for one in sequence.found] == pytest.approx(scores, abs=1e-3, rel=1e-4)


def test_the_comparison_is_worth_something(
    model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    options: Any = {"max_new_tokens": 18}
    plain = model.answer(picture(3), QUESTION, num_beams=3, **options)
    found = model.answer(picture(3), QUESTION, "opera:beams=3,weight=200,threshold=0", **options)
    assert found.ids != plain.ids
