"""Checked answers: against a slow version by `generate`, streamed, and in company."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch

import secondsight
from secondsight import Answer, ImageError, MethodError, Model, Request, Sample, Settings
from secondsight.benchmarks.sticker_source import sticker_images
from secondsight.checking.bans import bans_of
from secondsight.checking.claims import Claim, claims_in, ends_of
from secondsight.checking.dropping import drop
from secondsight.checking.questions import answer_ids
from secondsight.inference.streaming import read
from secondsight.objects.finding import finder
from secondsight.objects.mentions import find_mentions, sentences

QUESTION = "Please describe this image in detail."
LONGEST = 96
SCENES = [2, 4, 9]
"""Scenes of `conflict` whose descriptions hold something that the model doubts."""


@pytest.fixture(scope="module")
def bundled() -> Model:
    return secondsight.load()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    images = list(sticker_images("conflict").values())
    return [Sample(images[place](), QUESTION, id=place) for place in SCENES]


def plain(answer: Answer) -> Any:
    """What of an answer must be the same to the letter; probabilities round otherwise."""
    return (
        answer.text,
        answer.ids,
        answer.finish_reason,
        [(one.kind, one.text, one.start, round(one.probability, 3)) for one in answer.doubts or ()],
        [(one.action, one.sentence, [d.text for d in one.doubts]) for one in answer.repairs],
    )


class Slow:
    """The same by plain passes and `generate`, a question and a draft at a time."""

    def __init__(self, model: Model, sample: Sample) -> None:
        self.model = model
        self.sample = sample
        self.inputs = model.encode(sample.image, sample.question)
        self.read = partial(read, model.tokenizer)

    def draft(self, beginning: list[int], banned: list[list[int]]) -> list[int]:
        given = torch.tensor([beginning], dtype=torch.long)
        ids = torch.cat([self.inputs["input_ids"], given], dim=1)
        inputs = {**self.inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        left = LONGEST - len(beginning)
        written = self.model.hf_model.generate(
            **inputs, max_new_tokens=left, do_sample=False, bad_words_ids=banned or None
        )
        found = written[0, self.inputs["input_ids"].shape[1] :].tolist()
        ends = self.model.hf_model.generation_config.eos_token_id
        return [one for one in found if one != ends]

    def probability(self, claim: Claim, ids: list[int]) -> float:
        yes, no = answer_ids(self.model.tokenizer)
        with torch.no_grad():
            asked = self.model.encode(self.sample.image, claim.question)
            said = self.model.hf_model(**asked).logits[0, -1].double().softmax(-1)
            given = torch.tensor([ids])
            whole = torch.cat([self.inputs["input_ids"], given], dim=1)
            inputs = {**self.inputs, "input_ids": whole, "attention_mask": torch.ones_like(whole)}
            logits = self.model.hf_model(**inputs).logits[0].double().log_softmax(-1)
        first = self.inputs["input_ids"].shape[1] - 1
        written = sum(float(logits[first + at, ids[at]]) for at in claim.tokens)
        refusal = float(said[no].sum() / (said[yes].sum() + said[no].sum()))
        kind = self.model.calibrations.get(claim.kind)
        assert kind is not None
        score = kind.bias + kind.refusal * torch.tensor(refusal).logit() + kind.token * written
        return float(torch.sigmoid(score))

    def answer(self, attempts: int) -> str:
        banned: list[list[int]] = []
        ids = self.draft([], banned)
        done = tries = 0
        cut: list[tuple[int, int]] = []
        softened: list[tuple[int, int]] = []
        gone: set[str] = set()
        while True:
            text = self.read(ids)
            spans = sentences(text)
            if done == len(spans):
                return drop(text, cut, softened)
            start, end = spans[done]
            ends = ends_of(ids, self.read)
            own = [
                one
                for one in claims_in(text, ends, finder(), attributes=True)
                if start <= one.start < end
            ]
            doubtful = [
                one
                for one in own
                if self.probability(one, ids) > 0.3
                or (one.kind, one.object in gone) == ("object", True)
            ]
            objects = [one for one in doubtful if one.kind == "object"]
            if objects and tries < attempts:
                tries += 1
                for one in objects:
                    spelled = finder().spellings(one.object)
                    banned += [list(ban) for ban in bans_of(spelled, self.model.tokenizer)]
                before = next(place for place, length in enumerate(ends) if length > start)
                ids = self.draft(ids[:before], banned)
                continue
            cut += [(one.start, one.end) for one in objects]
            gone |= {one.object for one in objects}
            softened += [(one.start, one.end) for one in doubtful if one.kind != "object"]
            done, tries = done + 1, 0


@pytest.mark.parametrize("spec", ["check", "check:repair=drop", "check:attempts=1"])
def test_it_is_what_plain_passes_make_of_it(
    bundled: Model, samples: list[Sample], spec: str
) -> None:
    attempts = {"check": 2, "check:repair=drop": 0, "check:attempts=1": 1}[spec]
    answers = bundled.answer_batch(samples, spec, max_new_tokens=LONGEST)
    assert any(one.repairs for one in answers)
    for sample, answer in zip(samples, answers, strict=True):
        assert answer.text == Slow(bundled, sample).answer(attempts)


@pytest.mark.parametrize(
    "spec",
    ["check", "check:repair=constrain", "check:repair=drop", "check-token", "check+ritual"],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_streamed_alone_and_in_company_it_is_the_same(
    bundled: Model, samples: list[Sample], spec: str, temperature: float
) -> None:
    settings = Settings(max_new_tokens=LONGEST, temperature=temperature)
    requests = [Request(one, spec, settings) for one in samples]
    company = [Request(one, "vcd", settings) for one in samples[:2]]
    mixed = dict(bundled.answers([company[0], *requests, company[1]], batch_size=5))
    for place, request in enumerate(requests):
        alone = bundled.submit(request).result()
        assert plain(mixed[place + 1]) == plain(alone)
        heard: list[str] = []
        ticket = bundled.submit(request, lambda update, heard=heard: heard.append(update.text))
        assert plain(ticket.result()) == plain(alone)
        assert "".join(heard) == alone.text


def test_reporting_changes_nothing(bundled: Model, samples: list[Sample]) -> None:
    regular = bundled.answer_batch(samples, max_new_tokens=LONGEST)
    for spec, doubts in (("check:repair=none", False), ("regular", True)):
        answers = bundled.answer_batch(samples, spec, doubts=doubts, max_new_tokens=LONGEST)
        for one, other in zip(answers, regular, strict=True):
            assert (one.text, one.ids) == (other.text, other.ids)
            assert one.doubts
            assert not one.repairs
            for doubt in one.doubts:
                assert one.text[doubt.start : doubt.end] == doubt.text
    assert regular[0].doubts is None
    assert "doubts" not in regular[0].to_dict()
    assert answers[0].to_dict()["doubts"][0]["object"]


def test_nothing_is_left_that_is_doubted(bundled: Model, samples: list[Sample]) -> None:
    for spec in ("check", "check:repair=drop", "check:repair=constrain"):
        for answer in bundled.answer_batch(samples, spec, max_new_tokens=LONGEST):
            doubts = answer.doubts or ()
            assert all(one.probability <= 0.3 for one in doubts)
            assert [one.text for one in doubts] == [
                answer.text[one.start : one.end] for one in doubts
            ]
            named = [one.text for one in doubts if one.kind == "object"]
            assert named == [
                one.text
                for one in find_mentions(answer.text, finder().lexicon)  # type: ignore[attr-defined]
            ]


def test_everything_may_be_doubted_and_nothing(bundled: Model, samples: list[Sample]) -> None:
    regular = bundled.answer_batch(samples[:1], max_new_tokens=LONGEST)[0]
    calm = bundled.answer_batch(samples[:1], "check:threshold=1", max_new_tokens=LONGEST)[0]
    assert (calm.text, calm.repairs) == (regular.text, ())
    spec = "check:threshold=0,repair=drop"
    strict = bundled.answer_batch(samples[:1], spec, max_new_tokens=LONGEST)[0]
    assert find_mentions(strict.text, finder().lexicon) == []  # type: ignore[attr-defined]
    for repair in ("rewrite", "constrain"):
        spec = f"check:threshold=0,repair={repair},attempts=1"
        ended = bundled.answer_batch(samples[:1], spec, max_new_tokens=24)[0]
        assert find_mentions(ended.text, finder().lexicon) == []  # type: ignore[attr-defined]


def test_a_list_of_ones_own(bundled: Model, samples: list[Sample]) -> None:
    regular = bundled.answer_batch(samples, doubts=True, max_new_tokens=LONGEST)
    names = sorted({one.object for one in regular[0].doubts or ()})[:1]
    answers = bundled.answer_batch(samples, doubts=names, max_new_tokens=LONGEST)
    assert {one.object for one in answers[0].doubts or ()} == set(names)
    assert answers[0].provenance["checking"]["objects"] == names


def test_evidence_belongs_to_the_text(bundled: Model, samples: list[Sample]) -> None:
    for answer in bundled.answer_batch(samples, "check", evidence=True, max_new_tokens=LONGEST):
        if any(one.action == "dropped" for one in answer.repairs):
            assert answer.evidence is None
        else:
            assert answer.evidence is not None
            assert tuple(one.id for one in answer.evidence) == answer.ids


def test_a_cancelled_one_keeps_checked_sentences(bundled: Model, samples: list[Sample]) -> None:
    request = Request(samples[0], "check", Settings(max_new_tokens=LONGEST))
    whole = bundled.submit(request).result()
    with bundled.stream(samples[0].image, QUESTION, "check", max_new_tokens=LONGEST) as stream:
        pieces = [next(stream)]
    assert stream.answer is not None
    assert stream.answer.finish_reason == "cancelled"
    assert stream.answer.text.startswith(pieces[0].strip())
    assert whole.text.startswith(stream.answer.text) or stream.answer.repairs != whole.repairs
    assert bundled.runner.engine.idle
    ticket = bundled.submit(request)
    ticket.cancel()
    assert ticket.result().text == ""
    assert ticket.result().finish_reason == "cancelled"


def test_a_listener_that_fails_ends_its_own_answer(bundled: Model, samples: list[Sample]) -> None:
    def listener(update: secondsight.TokenUpdate) -> None:
        raise RuntimeError("gone")

    settings = Settings(max_new_tokens=LONGEST)
    failing = bundled.submit(Request(samples[0], "check", settings), listener)
    other = bundled.submit(Request(samples[1], "check", settings))
    with pytest.raises(RuntimeError, match="gone"):
        failing.result()
    assert other.result().text
    assert bundled.runner.engine.idle


@pytest.mark.parametrize(
    ("spec", "settings", "match"),
    [
        ("check", {"num_beams": 2}, "num_beams"),
        ("check:repair=constrain+opera", {}, "opera"),
        ("check-token", {"num_beams": 2}, "num_beams"),
        ("check:repair=drop", {"num_beams": 2, "num_return_sequences": 2}, "num_return_sequences"),
        ("check:ask_views=true+avisc", {}, "ask_views"),
        ("check+check-token", {}, "both check"),
        ("check:repair=mend", {}, "no repair 'mend'"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    bundled: Model, samples: list[Sample], spec: str, settings: dict[str, Any], match: str
) -> None:
    with pytest.raises(MethodError, match=match):
        bundled.answer(samples[0].image, QUESTION, spec, max_new_tokens=4, **settings)


def test_without_an_image_there_is_nothing_to_ask_about(bundled: Model) -> None:
    with pytest.raises(ImageError, match="no image to ask about"):
        bundled.answer(None, QUESTION, "check", max_new_tokens=4)


def test_a_search_is_checked_where_nothing_is_written_on(
    bundled: Model, samples: list[Sample]
) -> None:
    settings: dict[str, Any] = {"num_beams": 2, "max_new_tokens": 48}
    best = bundled.answer(samples[0].image, QUESTION, **settings)
    found = bundled.answer(samples[0].image, QUESTION, "check:repair=none", **settings)
    assert found.text == best.text
    assert found.doubts
    assert all(one.token is None for one in found.doubts)


def test_without_a_calibration_the_reply_is_reported_as_it_is(
    bundled: Model, samples: list[Sample], uncalibrated: None
) -> None:
    found = bundled.answer_batch(samples[:1], doubts=True, max_new_tokens=48)[0]
    for doubt in found.doubts or ():
        assert not doubt.calibrated
        assert doubt.probability == doubt.refusal


@pytest.fixture
def uncalibrated(bundled: Model) -> Iterator[None]:
    before, bundled.calibrations = bundled.calibrations, type(bundled.calibrations)()
    yield
    bundled.calibrations = before
