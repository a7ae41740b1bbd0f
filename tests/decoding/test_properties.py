"""What must hold for any mixture of samples: batches, orders and schedules change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from PIL import Image

import secondsight
from secondsight import Answer, Sample
from secondsight.decoding.rows import Pool
from secondsight.decoding.sampling import derive_seed, draw, generator

TOKENS = 8
QUESTIONS = (
    "Is it?",
    "Is there a dog in the image?",
    "Is there a dog in the picture, or a cat, or anything else that is alive?",
    "What colour is the small bicycle?",
)
SIZES = ((60, 40), (13, 97), (42, 42), (200, 30))
ANY = ("regular", "m3id", "apc", "m3id:gate=0.6", "identity", "icd", "lcd", "dola", "deco")
ANY += ("deco+m3id",)
WITH_PICTURE = (*ANY, "ritual", "vcd", "ritual+vcd", "ritual+m3id", "ritual:beta=0.001")
WITH_PICTURE += ("vcd+icd", "ritual+pai", "only:beta=0.001", "revisit", "revisit:layers=all,beta=0")

light = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

plans = st.lists(
    st.tuples(
        st.integers(0, 3) | st.none(), st.integers(0, len(SIZES) - 1), st.sampled_from(QUESTIONS)
    ),
    min_size=1,
    max_size=5,
)


def samples_of(plan: list[tuple[int | None, int, str]]) -> list[Sample]:
    def picture(number: int, size: tuple[int, int]) -> Image.Image:
        coarse = default_rng(number).integers(0, 256, (4, 4, 3), dtype="uint8")
        return Image.fromarray(coarse).resize(size)

    return [
        Sample(None if number is None else picture(number, SIZES[size]), question)
        for number, size, question in plan
    ]


def ids(answers: list[Answer]) -> list[tuple[int, ...]]:
    return [answer.ids for answer in answers]


@pytest.fixture(scope="module")
def models(model: secondsight.Model, tiny_llava_mha: Path) -> dict[str, secondsight.Model]:
    return {"gqa": model, "mha": secondsight.load(tiny_llava_mha, device="cpu")}


@pytest.mark.thorough
@pytest.mark.parametrize("which", ["gqa", "mha"])
@given(plan=plans, data=st.data(), temperature=st.sampled_from([0.0, 1.0, 2.5]))
@light
def test_batches_orders_and_schedules_change_nothing(
    models: dict[str, secondsight.Model],
    which: str,
    plan: list[tuple[int | None, int, str]],
    data: st.DataObject,
    temperature: float,
) -> None:
    model = models[which]
    samples = samples_of(plan)
    method = data.draw(
        st.sampled_from(ANY if any(s.image is None for s in samples) else WITH_PICTURE)
    )
    options = {"temperature": temperature, "max_new_tokens": TOKENS, "seed": 3}
    single = [
        model.answer(s.image, s.question, method, schedule="joint", **options).ids for s in samples
    ]
    order = data.draw(st.permutations(range(len(samples))))
    size = data.draw(st.integers(1, 5))
    for schedule in ("joint", "lazy", "auto"):
        batch = model.answer_batch(
            [samples[i] for i in order], method, schedule=schedule, batch_size=size, **options
        )
        assert ids(batch) == [single[i] for i in order], (method, schedule)


@pytest.mark.thorough
@given(plan=plans, repeat=st.integers(1, 3))
@light
def test_a_picture_asked_often_is_shared_and_nothing_changes(
    model: secondsight.Model, plan: list[tuple[int | None, int, str]], repeat: int
) -> None:
    """Questions on one picture, with what views draw shared or not."""
    picture = samples_of([(1, 0, "?")])[0].image
    questions = [question for *_, question in plan] * repeat
    options = {"temperature": 1.5, "max_new_tokens": TOKENS, "seed": 9}
    for shared in (False, True):
        single = [
            model.answer(picture, q, "ritual", share_views=shared, **options).ids for q in questions
        ]
        batch = model.answer_batch(
            [(picture, q) for q in questions], "ritual", share_views=shared, **options
        )
        assert ids(batch) == single


def test_a_sample_draws_its_own_numbers(model: secondsight.Model) -> None:
    """With names, equal samples differ; and a name keeps its numbers among other neighbours."""
    [plain] = samples_of([(1, 0, QUESTIONS[0])])
    named = [Sample(plain.image, plain.question, id=name) for name in "abcd"]
    options = {"temperature": 3.0, "max_new_tokens": TOKENS}
    together = ids(model.answer_batch(named, **options))
    assert len(set(together)) > 1
    assert ids(model.answer_batch([named[2]], **options)) == [together[2]]
    assert ids(model.answer_batch(named[::-1], **options)) == together[::-1]
    others = ids(model.answer_batch(named, seed=1, **options))
    assert others != together


def test_finished_neighbours_leave_without_a_trace(
    model: secondsight.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of([(0, 0, QUESTIONS[0]), (1, 1, QUESTIONS[1]), (2, 2, QUESTIONS[2])])
    options = {"max_new_tokens": 20, "temperature": 1.5}
    free = ids(model.answer_batch(samples, "vcd", **options))
    ends = [2, free[0][2], free[1][9]]
    monkeypatch.setattr(model.hf_model.generation_config, "eos_token_id", ends)
    for schedule in ("joint", "lazy", "auto"):
        batch = model.answer_batch(samples, "vcd", schedule=schedule, **options)
        single = [model.answer(s.image, s.question, "vcd", **options) for s in samples]
        assert ids(batch) == ids(single)
        assert [a.finish_reason for a in batch] == [a.finish_reason for a in single]
        assert "eos" in {a.finish_reason for a in batch}


@pytest.mark.parametrize(
    ("method", "temperature"),
    [("regular", 0.0), ("m3id", 0.0), ("m3id", 2.0), ("ritual", 0.0), ("ritual+vcd", 2.0)],
)
def test_the_next_take_the_places_of_the_finished(
    model: secondsight.Model, monkeypatch: pytest.MonkeyPatch, method: str, temperature: float
) -> None:
    """Answers of many lengths, most of them begun while others go on; all as if alone."""
    plan = [(n % 5, n % 4, QUESTIONS[n * 7 % 4]) for n in range(9)]
    samples = [
        Sample(sample.image, sample.question, id=str(number))
        for number, sample in enumerate(samples_of(plan))
    ]
    options = {"max_new_tokens": 12, "temperature": temperature, "repetition_penalty": 1.1}
    free = ids(model.answer_batch(samples, method, **options))
    ends = [2, *(answer[3 + 2 * number] for number, answer in enumerate(free[:4]))]
    monkeypatch.setattr(model.hf_model.generation_config, "eos_token_id", ends)
    single = [model.answer_batch([sample], method, **options)[0] for sample in samples]
    lengths = {len(answer.ids) for answer in single}
    assert len(lengths) > 3
    joined = count_joins(monkeypatch)
    for schedule, size in (("joint", 4), ("lazy", 2), ("auto", 3)):
        batch = model.answer_batch(samples, method, schedule=schedule, batch_size=size, **options)
        assert ids(batch) == ids(single), (schedule, size)
        assert [a.finish_reason for a in batch] == [a.finish_reason for a in single]
    assert len(joined) >= 6
    evidence = model.answer_batch(samples, method, batch_size=3, evidence=True, **options)
    assert [[token.id for token in one.evidence or ()][: len(one.ids)] for one in evidence] == [
        list(one.ids) for one in single
    ]


def count_joins(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Notes how many rows there were whenever others joined, and that nothing moved for them."""
    found: list[int] = []
    admit = Pool.admit

    def watched(self: Pool, *rows: Any, **options: Any) -> None:
        here, moved = len(self), self.cache.moved
        admit(self, *rows, **options)
        if here:
            found.append(here)
            assert self.cache.moved == moved

    monkeypatch.setattr(Pool, "admit", watched)
    return found


@given(seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_a_draw_is_multinomials(seed: int) -> None:
    scores = torch.randn(1, 300, generator=generator(seed)) * 3
    torch.manual_seed(seed)
    want = torch.multinomial(scores.softmax(-1), 1)[0]
    assert draw(scores, [generator(seed)]).tolist() == want.tolist()


def test_draws_follow_the_probabilities_and_spare_the_impossible() -> None:
    scores = torch.tensor([[0.0, 1.0, float("-inf"), 2.0]])
    generators = [generator(derive_seed(1, "sample", n)) for n in range(4000)]
    drawn = [int(draw(scores, [generators[n]])[0]) for n in range(4000)]
    shares = torch.bincount(torch.tensor(drawn), minlength=4) / 4000
    assert shares[2] == 0
    torch.testing.assert_close(shares, scores[0].softmax(-1), atol=0.03, rtol=0)


def test_derived_seeds_are_the_same_everywhere() -> None:
    assert derive_seed(0, "a") == derive_seed(0, "a")
    assert derive_seed(0, "a", "b") != derive_seed(0, "ab")
    assert derive_seed(0, "a") != derive_seed(1, "a")
    assert derive_seed(12, "tokens") == 8280300113121078225
    assert all(0 <= derive_seed(n, "x") < 2**63 for n in range(50))
