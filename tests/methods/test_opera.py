"""OPERA: the recorded searches of its code, step by step, and its search's own rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

import secondsight
from golden import recordings
from golden.recordings import Run
from secondsight import MethodError, Request, Sample, Settings, UnsupportedError
from secondsight.decoding.beams import Beams
from secondsight.decoding.engine import Engine
from secondsight.decoding.opera import Retrospective, Rollback
from secondsight.decoding.rows import Pool
from secondsight.decoding.sequence import Sequence
from secondsight.methods.opera import Opera

GoldenModel = Callable[..., secondsight.Model]
RUNS = recordings.runs("opera")


def searched(model: secondsight.Model, request: Request) -> Sequence:
    """A request's sequence after its search, and the search itself."""
    engine = Engine(model.hf_model)
    sequence = engine.add(model.prepare(request).prepared)
    while not engine.idle:
        for update in engine.step():
            assert update.sequence.error is None
    return sequence


def continued(run: Run) -> list[list[tuple[int, int]]]:
    """The recorded parents and tokens of every step, rollbacks behind us."""
    rollbacks = iter(run.beams["rollbacks"])
    steps: dict[int, list[tuple[int, int]]] = {}
    pairs = zip(run["window"], run["rolled"], run["beam_idx"], run["beam_tokens"], strict=True)
    for window, rolled, parents, tokens in pairs:
        step = next(rollbacks)["history_left"] - 1 if rolled else int(window) - 1
        steps[step] = list(zip(parents.tolist(), tokens.tolist(), strict=True))
    return [steps[step] for step in range(run.new_tokens - 1)] + [[]]


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_recorded_searches(golden_model: GoldenModel, run: Run) -> None:
    model = golden_model(run.preset)
    plain = run.spec == "regular"
    settings = Settings(max_new_tokens=run.new_tokens, num_beams=5 if plain else 1)
    request = Request(Sample(run.image_file, run.question), run.spec or "regular", settings)
    sequence = searched(model, request)
    assert sequence.ids == run.tokens
    search = sequence.beams
    assert isinstance(search, Beams if plain else Retrospective)
    expected = [
        Rollback(one["summary_loc"], one["history_left"] - 1, one["window"] - 1)
        for one in run.beams["rollbacks"]
    ]
    assert getattr(search, "rollbacks", []) == expected
    if isinstance(search, Retrospective) and "c1" not in run.setting:
        assert search.chosen == continued(run)
    hypotheses = [(tuple(one["tokens"]), one["score"]) for one in run.beams["hypotheses"]]
    for found, (ids, score) in zip(sequence.found, hypotheses, strict=False):
        assert found.ids == ids
        # The code divides by the prompt's ids too.
        scale = (50 + run.prompt + len(ids)) / len(ids) if plain else 1
        assert found.score == pytest.approx(score * scale, abs=1e-5)


QUESTION = "What is in the image?"
Picture = Callable[..., Image.Image]


def test_twenty_five_rows_a_token_and_the_image_once(
    model: secondsight.Model, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    unread = 0
    forward = Pool._forward

    def counting(self: Pool, rows: Any, *rest: Any) -> Any:
        nonlocal unread
        unread += sum(row.unread for row in rows)
        read.append(len(rows))
        return forward(self, rows, *rest)

    monkeypatch.setattr(Pool, "_forward", counting)
    tokens = 30
    request = Request(
        Sample(picture(3), QUESTION), "opera:threshold=0", Settings(max_new_tokens=tokens)
    )
    sequence = searched(model, request)
    assert isinstance(sequence.beams, Retrospective)
    assert sequence.beams.rollbacks
    assert unread == 1
    # The prompt is read in two passes; a rollback reads the revived hypotheses, and then those
    # that are chosen anew.
    dropped = sum(1 + one.dropped - one.to for one in sequence.beams.rollbacks)
    assert max(read) == 25
    assert len(read) <= 2 + tokens + dropped + len(sequence.beams.rollbacks)


def test_one_beam_one_candidate_and_no_penalty_are_greedy(
    model: secondsight.Model, picture: Picture
) -> None:
    options: Any = {"max_new_tokens": 16}
    greedy = model.answer(picture(3), QUESTION, **options)
    for spec in (
        "opera:candidates=1,threshold=100",
        "opera:beams=1,weight=0,threshold=100",
        "opera:candidates=1,threshold=100,official=true",
    ):
        assert model.answer(picture(3), QUESTION, spec, **options).ids == greedy.ids


def test_without_penalty_it_is_beam_search(model: secondsight.Model, picture: Picture) -> None:
    options: Any = {"max_new_tokens": 12, "num_beams": 3, "num_return_sequences": 3}
    plain = model.answer(picture(3), QUESTION, **options)
    spec = "opera:candidates=64,weight=0,threshold=100"
    found = model.answer(picture(3), QUESTION, spec, **options)
    assert found.ids == plain.ids
    assert found.score == pytest.approx(plain.score, abs=1e-4)
    assert [one.ids for one in found.alternatives] == [one.ids for one in plain.alternatives]


def test_it_draws_nothing_and_says_its_rollbacks(
    model: secondsight.Model, picture: Picture
) -> None:
    spec = "opera:threshold=0"
    options: Any = {"max_new_tokens": 30}
    greedy = model.answer(picture(3), QUESTION, spec, **options)
    drawn = model.answer(picture(3), QUESTION, spec, evidence=True, temperature=1.0, **options)
    assert drawn.ids == greedy.ids
    assert drawn.evidence is not None
    assert [one.id for one in drawn.evidence] == list(drawn.ids)
    counts = [one.facts["rollbacks"] for one in drawn.evidence]
    assert counts == sorted(counts)
    assert counts[-1] > 0


def test_what_it_cannot_do_is_refused_by_name(model: secondsight.Model, picture: Picture) -> None:
    with pytest.raises(MethodError, match="image"):
        model.answer(None, QUESTION, "opera", max_new_tokens=2)
    with pytest.raises(MethodError, match="pai and opera cannot be combined"):
        model.answer(picture(1), QUESTION, "opera+pai", max_new_tokens=2)
    with pytest.raises(MethodError, match="opera and avisc cannot be combined"):
        secondsight.methods.create("opera+avisc")
    with pytest.raises(MethodError, match="opera cannot be combined with itself"):
        secondsight.methods.create("opera+opera")

    @secondsight.register("seeker")
    @dataclass(frozen=True)
    class Seeker(Opera):
        pass

    with pytest.raises(MethodError, match="opera and seeker cannot be combined: both search"):
        secondsight.methods.create("opera+seeker")
    inputs = model.encode(picture(1), QUESTION)
    with pytest.raises(UnsupportedError, match="which generate"):
        model.hf_model.generate(
            **inputs, custom_generate=secondsight.decode, method="opera", max_new_tokens=2
        )
