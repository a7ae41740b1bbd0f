"""The law: what a sequence says depends on nothing but itself, whoever else is in the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from PIL import Image

import secondsight
from secondsight import Request, Sample, Settings, UserError
from secondsight.decoding import rows
from secondsight.decoding.engine import Engine
from secondsight.decoding.rows import Pool
from secondsight.decoding.sharing import PrefixCache

METHODS = ("regular", "ritual", "vcd", "m3id", "ritual+vcd", "sharpened", "vcd:beta=0.001")
METHODS += ("dola", "only:beta=0.001", "revisit", "deco", "lcd")
QUESTIONS = (
    "Is it?",
    "Is there a dog in the image?",
    "What colour is the small bicycle? Or a cat?",
)
ENDS = [2, 30, 77, 150, 201]


def image(number: int) -> Image.Image:
    coarse = default_rng(number).integers(0, 256, (4, 4, 3), dtype="uint8")
    return Image.fromarray(coarse).resize((42 + 9 * number, 60))


requests = st.builds(
    lambda number, question, method, tokens, temperature, schedule, seed: Request(
        Sample(image(number), QUESTIONS[question], id=f"{number} {question}"),
        method,
        Settings(max_new_tokens=tokens, temperature=temperature, seed=seed),
        schedule=schedule,
    ),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(METHODS),
    st.sampled_from([1, 3, 9, 14]),
    st.sampled_from([0.0, 1.5]),
    st.sampled_from(["auto", "joint", "lazy"]),
    st.integers(0, 2),
)
arrivals = st.lists(
    st.tuples(requests, st.integers(0, 12), st.none() | st.integers(0, 14)), min_size=1, max_size=6
)
many = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def ending(model: secondsight.Model, monkeypatch: pytest.MonkeyPatch) -> secondsight.Model:
    """The model with more tokens that end an answer, so that lengths differ."""
    monkeypatch.setattr(model.hf_model.generation_config, "eos_token_id", ENDS)
    return model


def alone(model: secondsight.Model, request: Request) -> tuple[list[int], Any]:
    """A request by itself, in an engine of its own."""
    engine = Engine(model.hf_model)
    sequence = engine.add(model.prepare(request).prepared)
    while not engine.idle:
        engine.step()
    return sequence.ids, sequence.finished


def run(engine: Engine, model: secondsight.Model, plan: list[Any]) -> list[Any]:
    """Let requests arrive and be cancelled at their steps; their sequences."""
    sequences: dict[int, Any] = {}
    for step in range(100):
        for number, (request, arrives, _) in enumerate(plan):
            if arrives == step:
                sequences[number] = engine.add(model.prepare(request).prepared)
        for number, (_, arrives, cancels) in enumerate(plan):
            if cancels is not None and step == arrives + cancels and number in sequences:
                engine.cancel(sequences[number])
        engine.step()
        if engine.idle and len(sequences) == len(plan):
            break
    assert engine.idle
    assert len(engine.pool) == 0
    return [sequences[number] for number in range(len(plan))]


@given(plan=arrivals, kept=st.booleans(), most=st.none() | st.integers(1, 3))
@many
def test_arrivals_cancellations_and_company_change_nothing(
    ending: secondsight.Model, plan: list[Any], kept: bool, most: int | None
) -> None:
    engine = Engine(
        ending.hf_model, prefixes=PrefixCache(2**24) if kept else None, most=most, joins=most
    )
    for sequence, (request, _, cancels) in zip(run(engine, ending, plan), plan, strict=True):
        ids, finished = alone(ending, request)
        if sequence.finished == "cancelled":
            assert cancels is not None
            assert sequence.ids == ids[: len(sequence.ids)]
            assert len(sequence.ids) <= cancels
        else:
            assert (sequence.ids, sequence.finished) == (ids, finished)


@given(plan=arrivals)
@many
def test_nothing_moves_for_those_who_join(ending: secondsight.Model, plan: list[Any]) -> None:
    engine = Engine(ending.hf_model)
    admit, moved = Pool.admit, []

    def watched(self: Pool, *given: Any, **options: Any) -> None:
        before = self.cache.moved
        admit(self, *given, **options)
        moved.append(self.cache.moved - before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "admit", watched)
        run(engine, ending, [(request, arrives, None) for request, arrives, _ in plan])
    assert moved
    assert not any(moved)


@given(plan=arrivals)
@many
def test_running_out_of_slots_and_rows_changes_nothing(
    ending: secondsight.Model, plan: list[Any]
) -> None:
    """With no slot or row to spare the pool grows, shifts and moves all the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_SPARE_SLOTS", 2), ("_SPARE_LEFT", 0), ("_LEAST_ROWS", 0)):
            patch.setattr(rows, name, value)
        sequences = run(Engine(ending.hf_model), ending, [(r, a, None) for r, a, _ in plan])
    for sequence, (request, *_) in zip(sequences, plan, strict=True):
        assert (sequence.ids, sequence.finished) == alone(ending, request)


def test_a_long_run_gives_unused_slots_up(ending: secondsight.Model) -> None:
    engine = Engine(ending.hf_model)
    request = Request(Sample(image(1), "Is it?"), settings=Settings(max_new_tokens=14))
    want, _ = alone(ending, request)
    widest = 0
    for _ in range(60):  # one after another, each begun before the last one has ended
        sequence = engine.add(ending.prepare(request).prepared)
        for _ in range(9):
            engine.step()
        assert sequence.ids == want[: len(sequence.ids)]
        widest = max(widest, engine.pool.cache.slots)
    assert widest < 512 + 2 * 300


# Errors


class Broken:
    """Makes a pass fail while something holds."""

    def __init__(self, model: secondsight.Model, fails: Callable[[int], BaseException | None]):
        self.rows: list[int] = []
        self._fails = fails
        self.hook = model.hf_model.register_forward_pre_hook(self._before, with_kwargs=True)

    def _before(self, module: Any, args: Any, kwargs: Any) -> None:
        self.rows.append(len(kwargs["input_ids"]))
        error = self._fails(self.rows[-1])
        if error is not None:
            raise error


@pytest.fixture
def breaking(model: secondsight.Model) -> Iterator[Callable[..., Broken]]:
    made: list[Broken] = []

    def make(fails: Callable[[int], BaseException | None]) -> Broken:
        made.append(Broken(model, fails))
        return made[-1]

    yield make
    for one in made:
        one.hook.remove()
    model.runner.engine.most = None


def questions(count: int) -> list[Sample]:
    return [Sample(image(n % 3), QUESTIONS[n % 3], id=n) for n in range(count)]


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_where_memory_runs_out_the_youngest_start_again(
    model: secondsight.Model, breaking: Callable[..., Broken], temperature: float
) -> None:
    options: Any = {"max_new_tokens": 8, "temperature": temperature}
    want = [model.answer_batch([one], "vcd", **options)[0].ids for one in questions(7)]
    broken = breaking(
        lambda rows: torch.OutOfMemoryError("CUDA out of memory.") if rows > 3 else None
    )
    have = model.answer_batch(questions(7), "vcd", batch_size=7, **options)
    assert [one.ids for one in have] == want
    assert max(broken.rows) > 3


def test_not_even_one_fits(model: secondsight.Model, breaking: Callable[..., Broken]) -> None:
    breaking(lambda rows: RuntimeError("[enforce fail] can't allocate memory: you tried"))
    with pytest.raises(UserError, match="not enough memory"):
        model.answer_batch(questions(3), max_new_tokens=4)
    assert model.runner.engine.idle


def test_an_error_of_one_request_is_not_the_others(model: secondsight.Model) -> None:
    """Whatever breaks in a step: the others start again from their seeds."""
    want = [model.answer_batch([one], max_new_tokens=6)[0].ids for one in questions(5)]
    requests = [Request(one, settings=Settings(max_new_tokens=6)) for one in questions(5)]
    tickets = [model.submit(one) for one in requests]

    def fail(step: Any) -> None:
        if step.index == 3:
            raise RuntimeError("the lights went out")

    unlucky = model.submit(requests[0], observer=fail)
    assert [ticket.result().ids for ticket in tickets] == want
    with pytest.raises(RuntimeError, match="lights"):
        unlucky.result()
    assert model.runner.engine.idle


def test_interrupting_one_caller_leaves_the_others_their_answers(
    model: secondsight.Model, breaking: Callable[..., Broken]
) -> None:
    want = [model.answer_batch([one], max_new_tokens=8)[0].ids for one in questions(3)]
    waiting = [
        model.submit(Request(one, settings=Settings(max_new_tokens=8))) for one in questions(3)
    ]
    passes = iter(range(100))
    breaking(lambda rows: KeyboardInterrupt() if next(passes) == 4 else None)
    with pytest.raises(KeyboardInterrupt):
        model.answer(image(0), "Is it?", max_new_tokens=30)
    assert [ticket.result().ids for ticket in waiting] == want
    assert model.runner.engine.idle


@pytest.mark.parametrize("method", ["regular", "vcd", "m3id"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_an_error_that_names_the_layer(
    model: secondsight.Model, method: str, temperature: float, value: float
) -> None:
    layers = model.hf_model.get_decoder().layers
    hook = layers[1].register_forward_hook(lambda module, given, output: output * value)
    try:
        with pytest.raises(UserError, match=r"layer 1 of 2 .*dtype") as caught:
            model.answer(
                image(0), "Is there a dog?", method, max_new_tokens=5, temperature=temperature
            )
        assert "NaN" in str(caught.value) or "infinite" in str(caught.value)
    finally:
        hook.remove()
    # What was kept of the prompt meanwhile is not used again.
    assert model.answer(image(0), "Is there a dog?", method, max_new_tokens=5).ids


def test_many_threads_share_one_engine(model: secondsight.Model) -> None:
    asked = [(one, METHODS[n % len(METHODS)]) for n, one in enumerate(questions(12))]
    options: Any = {"max_new_tokens": 10, "temperature": 1.0}
    want = [model.answer_batch([one], method, **options)[0].ids for one, method in asked]
    have: dict[int, Any] = {}

    def ask(number: int) -> None:
        one, method = asked[number]
        have[number] = model.answer_batch([one], method, **options)[0].ids

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [have[n] for n in range(len(asked))] == want


def test_any_mixture_in_one_call(model: secondsight.Model) -> None:
    mixed = [
        Request(one, METHODS[n % len(METHODS)], Settings(max_new_tokens=3 + n), evidence=n % 2 == 0)
        for n, one in enumerate(questions(9))
    ]
    have = dict(model.answers(iter(mixed), batch_size=4))
    assert sorted(have) == list(range(9))
    for number, request in enumerate(mixed):
        [(_, want)] = model.answers([request])
        assert have[number].ids == want.ids
        assert have[number].provenance == want.provenance
        assert (have[number].evidence is None) == (want.evidence is None)


def test_failures_in_a_row_lose_nothing(model: secondsight.Model, tmp_path: Any) -> None:
    """As many failures as have places must not end the run before its last requests."""
    images = [tmp_path / f"absent{number}.png" for number in range(5)] + [None]
    brief = Settings(max_new_tokens=2)
    asked = [Request(Sample(image, "Why?"), settings=brief) for image in images]
    for size in (1, 2, 5):
        outcomes = dict(model.outcomes(asked, batch_size=size))
        assert sorted(outcomes) == list(range(6))
        assert isinstance(outcomes[5], secondsight.Answer)


def test_failures_are_values_of_outcomes(model: secondsight.Model, tmp_path: Any) -> None:
    asked = [Request(one, settings=Settings(max_new_tokens=3)) for one in questions(4)]
    asked[2] = Request(Sample(tmp_path / "none.png", "Is it?"))
    outcomes = dict(model.outcomes(asked, batch_size=2))
    assert isinstance(outcomes.pop(2), secondsight.ImageError)
    assert sorted(outcomes) == [0, 1, 3]
    assert all(isinstance(one, secondsight.Answer) for one in outcomes.values())
    with pytest.raises(secondsight.ImageError):
        list(model.answers(asked, batch_size=2))
