"""Beam search for every method: transformers' own where nothing is contrasted, views per beam."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import secondsight
from secondsight import Answer, Request, Sample, Settings, UserError
from secondsight.decoding.beams import Beams, Search
from secondsight.decoding.rows import Pool
from secondsight.inference import prepare

QUESTION = "What is in the image?"
Picture = Callable[..., Image.Image]
CONTRASTIVE = ("vcd", "m3id:decay=0.3", "ritual", "icd", "sid", "avisc", "pai", "lcd", "ritual+vcd")
OPERA = (
    "opera",
    "opera:beams=1,weight=50",
    "opera:beams=2,candidates=3,threshold=-1",
    "opera:beams=2,candidates=2,threshold=0,official=true+vcd",
)
EARLY = ("dola", "deco", "only:beta=0.001", "revisit")


@pytest.fixture(scope="module")
def tiny(tiny_llava: Path) -> secondsight.Model:
    """A model of its own, whose ends are set by tests."""
    return secondsight.load(tiny_llava, device="cpu")


def theirs(
    model: secondsight.Model, image: Any, ends: Sequence[int], **options: Any
) -> tuple[list[tuple[int, ...]], list[float]]:
    """Transformers' hypotheses without padding, and their scores."""
    inputs = model.encode(image, QUESTION)
    out: Any = model.hf_model.generate(
        **inputs,
        do_sample=False,
        eos_token_id=list(ends),
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    found = []
    for row in out.sequences[:, inputs["input_ids"].shape[1] :].tolist():
        stop = next((at for at, token in enumerate(row) if token in ends), len(row))
        found.append(tuple(row[:stop]))
    return found, out.sequences_scores.tolist()


def slow(
    model: secondsight.Model, others: Sequence[dict[str, Any]], method: str, beams: int, tokens: int
) -> list[tuple[tuple[int, ...], float]]:
    """Beam search by full passes without a cache, one hypothesis and one view at a time."""
    made = secondsight.methods.create(method)

    def logits(inputs: dict[str, Any], ids: tuple[int, ...]) -> torch.Tensor:
        whole = torch.cat([inputs["input_ids"], torch.tensor([ids], dtype=torch.long)], dim=1)
        pixels = {key: value for key, value in inputs.items() if key == "pixel_values"}
        with torch.no_grad():
            output = model.hf_model(input_ids=whole, use_cache=False, **pixels)
        return output.logits[:, -1].float()

    going: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for step in range(tokens):
        candidates = []
        for ids, score in going:
            views = torch.stack([logits(inputs, ids) for inputs in others])
            scores, mask = made.combine(views, step), made.plausible(views[0])
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            said = scores.log_softmax(dim=-1)[0]
            candidates += [
                ((*ids, token), score + float(said[token]))
                for token in range(len(said))
                if said[token] > -math.inf
            ]
        going = sorted(candidates, key=lambda one: -one[1])[:beams]
    return [(ids, score / tokens) for ids, score in going]


def every(answer: Answer) -> tuple[list[tuple[int, ...]], list[float]]:
    assert answer.score is not None
    others = answer.alternatives
    return [answer.ids, *(one.ids for one in others)], [answer.score, *(o.score for o in others)]


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [1.0, 0.0, -1.5, 2.0])
def test_without_a_contrast_it_is_transformers_beam_search(
    tiny: secondsight.Model,
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
    early_stopping: Any,
    length_penalty: float,
) -> None:
    image = picture(5)
    free = tiny.answer(image, QUESTION, num_beams=4, num_return_sequences=4, max_new_tokens=14)
    # Ends that hypotheses meet: tokens of theirs, early and late.
    ends = sorted({free.ids[3], free.alternatives[-1].ids[7], free.alternatives[0].ids[10], 2})
    monkeypatch.setattr(tiny.hf_model.generation_config, "eos_token_id", ends)
    options: Any = {
        "num_beams": 4,
        "num_return_sequences": 4,
        "max_new_tokens": 14,
        "length_penalty": length_penalty,
        "early_stopping": early_stopping,
    }
    ids, scores = theirs(tiny, image, ends, **options)
    for method in ("regular", "vcd:alpha=0,beta=0", "ritual:alpha=0,beta=none"):
        found, own = every(tiny.answer(image, QUESTION, method, **options))
        assert found == ids, method
        assert own == pytest.approx(scores, abs=1e-4, rel=1e-5)


@pytest.mark.parametrize("method", ["m3id:decay=0.3,beta=0.01", "ritual:transform=hflip,beta=0.01"])
def test_views_follow_their_beams(model: secondsight.Model, picture: Picture, method: str) -> None:
    image = picture(7)
    mirrored = ImageOps.mirror(image)
    other = model.encode(None if "m3id" in method else mirrored, QUESTION)
    expected = slow(model, [model.encode(image, QUESTION), other], method, beams=3, tokens=6)
    for schedule in ("joint", "lazy", "auto"):
        found = model.answer(
            image,
            QUESTION,
            method,
            schedule=schedule,
            num_beams=3,
            num_return_sequences=3,
            max_new_tokens=6,
        )
        ids, scores = every(found)
        assert ids == [ids for ids, _ in expected]
        assert scores == pytest.approx([score for _, score in expected], abs=1e-4)


@pytest.mark.parametrize("method", ["regular", *CONTRASTIVE, *EARLY, "deco+m3id"])
def test_one_beam_is_greedy_decoding(
    model: secondsight.Model, picture: Picture, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    options: Any = {"max_new_tokens": 10, "repetition_penalty": 1.3, "evidence": True}
    greedy = model.answer(picture(2), QUESTION, method, **options)
    whole = prepare._search

    def one_beam(method: Any, chosen: Settings, *rest: Any) -> Any:
        found = whole(method, replace(chosen, num_beams=2), *rest)
        assert found is not None
        return replace(found, beams=1)

    monkeypatch.setattr(prepare, "_search", one_beam)
    searched = model.answer(picture(2), QUESTION, method, **options)
    assert searched.score is not None
    assert (searched.ids, searched.finish_reason) == (greedy.ids, greedy.finish_reason)
    assert searched.evidence is not None
    assert greedy.evidence is not None
    for one, other in zip(searched.evidence, greedy.evidence, strict=True):
        assert one.id == other.id
        assert one.facts == other.facts
        assert one.view_probabilities == pytest.approx(other.view_probabilities, abs=1e-5)


plans = st.lists(
    st.tuples(
        st.sampled_from(["regular", *CONTRASTIVE, *EARLY, *OPERA]),
        st.sampled_from([1, 1, 2, 3, 5]),
        st.integers(0, 3),
        st.integers(1, 18),
        st.sampled_from(["joint", "lazy", "auto"]),
    ),
    min_size=2,
    max_size=6,
)


@pytest.mark.thorough
@given(plan=plans, size=st.integers(1, 4))
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_in_any_company_searches_find_what_they_find_alone(
    model: secondsight.Model, picture: Picture, plan: list[Any], size: int
) -> None:
    requests = [
        Request(
            Sample(picture(number), QUESTION),
            method,
            Settings(max_new_tokens=tokens, num_beams=beams, num_return_sequences=beams),
            schedule=schedule,
        )
        for method, beams, number, tokens, schedule in plan
    ]
    alone = [model.submit(one).result() for one in requests]
    together = dict(model.answers(requests, batch_size=size))
    for number, expected in enumerate(alone):
        found = together[number]
        assert found.ids == expected.ids, plan[number]
        assert [one.ids for one in found.alternatives] == [one.ids for one in expected.alternatives]
        assert found.score == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize("method", ["regular", "vcd", "sid", "revisit"])
def test_evidence_is_that_of_the_winner(
    model: secondsight.Model, picture: Picture, method: str
) -> None:
    answer = model.answer(
        picture(4), QUESTION, method, evidence=True, num_beams=4, max_new_tokens=9, length_penalty=0
    )
    assert answer.evidence is not None
    assert tuple(one.id for one in answer.evidence) == answer.ids
    total = sum(math.log(one.probability) for one in answer.evidence)
    assert answer.score == pytest.approx(total, abs=1e-4)


def test_prompts_are_read_once_however_many_beams(
    model: secondsight.Model, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    forward = Pool._forward

    def counting(self: Pool, rows: Any, *rest: Any) -> Any:
        read.extend(self.head - row.cached for row in rows if row.unread)
        return forward(self, rows, *rest)

    monkeypatch.setattr(Pool, "_forward", counting)
    model.prefixes.clear()
    for schedule in ("joint", "lazy", "auto"):
        read.clear()
        options: Any = {"schedule": schedule, "max_new_tokens": 6}
        model.answer(picture(6), f"{schedule}?", "vcd", **options)
        once = len(read)
        read.clear()
        model.answer(picture(6), f"And {schedule}?", "vcd", num_beams=5, **options)
        assert len(read) <= max(once, 2)


def test_stop_strings_end_hypotheses(model: secondsight.Model, picture: Picture) -> None:
    free = model.answer(picture(1), QUESTION, num_beams=3, max_new_tokens=12)
    stop = model.tokenizer.decode([free.ids[3]]).strip()
    assert stop
    ended = model.answer(picture(1), QUESTION, num_beams=3, max_new_tokens=12, stop=stop)
    assert stop not in ended.text
    assert ended.score is not None


def test_a_search_is_cancelled_with_what_it_has(model: secondsight.Model, picture: Picture) -> None:
    request = Request(Sample(picture(1), QUESTION), "vcd", Settings(num_beams=3, max_new_tokens=50))
    ticket = model.submit(request)
    steps = iter(range(5))
    model.runner.run_until(lambda: next(steps, None) is None)
    ticket.cancel()
    answer = ticket.result()
    assert answer.finish_reason == "cancelled"
    assert 0 < len(answer.ids) <= 5
    assert len(model.runner.engine.pool) == 0


def test_a_stream_has_the_answer_when_the_search_has_ended(
    model: secondsight.Model, picture: Picture
) -> None:
    whole = model.answer(picture(1), QUESTION, num_beams=3, max_new_tokens=6)
    with model.stream(picture(1), QUESTION, num_beams=3, max_new_tokens=6) as stream:
        assert "".join(stream) == whole.text
        assert stream.answer is not None
        assert stream.answer.ids == whole.ids


@pytest.mark.parametrize("where", ["_forward", "append", "follow", "fork"])
def test_memory_that_runs_out_starts_searches_again(
    model: secondsight.Model, picture: Picture, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    options: Any = {"num_beams": 3, "max_new_tokens": 8}
    samples = [(picture(number), QUESTION) for number in range(3)]
    expected = [one.ids for one in model.answer_batch(samples, "vcd", **options)]
    whole, calls = getattr(Pool, where), iter(range(1000))

    def failing(self: Pool, *given: Any) -> Any:
        if next(calls) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, *given)

    monkeypatch.setattr(Pool, where, failing)
    assert [one.ids for one in model.answer_batch(samples, "vcd", **options)] == expected
    model.runner.engine.most = None


def search(beams: int, **options: Any) -> Search:
    return Search(beams, lambda ids: "eos" if ids[-1] == 0 else None, longest=9, **options)


def test_fewer_continuations_than_beams_are_fewer_hypotheses() -> None:
    beams = Beams(search(3))
    scores = torch.full((1, 6), -math.inf)
    scores[0, 4], scores[0, 5] = 1.0, 0.0
    beams.advance(scores)
    assert [one.ids for one in beams.going] == [(4,), (5,)]
    beams.advance(torch.tensor([[-math.inf] * 5 + [0.0], [-math.inf, 0.0, 0.0] + [-math.inf] * 3]))
    assert [one.ids for one in beams.going] == [(4, 5), (5, 1), (5, 2)]
    assert [one.parent for one in beams.going] == [0, 1, 1]


def test_nothing_but_ends_ends_the_search() -> None:
    beams = Beams(search(2))
    scores = torch.full((1, 6), -math.inf)
    scores[0, 0] = 0.0
    beams.advance(scores)
    assert beams.done
    assert [(one.ids, one.score) for one in beams.ended] == [((0,), 0.0)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1"),
        ({"num_beams": 1000}, "num_beams must be at least 1 and at most 64"),
        ({"num_beams": 2, "temperature": 1.0}, "Beam search draws nothing"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences is 3"),
        ({"num_return_sequences": 2}, "num_return_sequences is 2"),
        ({"early_stopping": "maybe"}, "early_stopping must be True, False or 'never'"),
        ({"length_penalty": math.nan}, "length_penalty must be"),
    ],
)
def test_settings_that_make_no_search_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        Settings(**options)
    assert str(error.value).startswith(said)


def test_the_record_has_the_search(model: secondsight.Model, picture: Picture) -> None:
    plain = model.answer(picture(1), QUESTION, max_new_tokens=2)
    assert "num_beams" not in plain.provenance["settings"]
    assert "score" not in plain.to_dict()
    found = model.answer(
        picture(1), QUESTION, max_new_tokens=2, num_beams=2, num_return_sequences=2
    )
    assert found.provenance["settings"]["num_beams"] == 2
    data = found.to_dict()
    assert data["score"] == found.score
    assert len(data["alternatives"]) == 1
