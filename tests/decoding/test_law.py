"""The law of exactness, for everything that changes something inside the model.

What a row says after a token depends on its prompt and its tokens up to it: not on when, with
whom, or in how many passes the model reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import secondsight
from secondsight import Method, Request, Sample
from secondsight.decoding import SCHEDULES
from secondsight.methods import create, names
from secondsight.methods.base import parameter, plausibility
from secondsight.views import Original, View

TOKENS = 10
QUESTIONS = ("Is there a dog?", "Describe this image in detail.", "What colour is it? Red or blue?")
SPECS = (
    *(
        "pai",
        "pai:gamma=1,alpha=0.6",
        "sid:keep=3",
        "avisc:threshold=0.5",
        "vista",
        "vista:scale=1",
    ),
    *("ritual", "regular"),
)

unhurried = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def changes_something(spec: str) -> list[View]:
    """The views of a method that change something inside the model."""
    views = create(spec).views(Sample(Image.new("RGB", (8, 8)), "?"))
    return [view for view in views if getattr(view, "inside", False)]


REGISTERED = [
    (name, place)
    for name in names()
    if secondsight.methods.get(name).__module__.startswith("secondsight.")
    for place in range(len(changes_something(name)))
]


@dataclass(frozen=True)
class Sometimes(Method):
    """A view of another method beside the base, read at some steps only; the base decides."""

    of: str = parameter("", "the other method")
    place: int = parameter(0, "which of its views")
    steps: int = parameter(-1, "bits: the steps at which the view is read", low=None)
    beta: float | None = plausibility(None)
    said: ClassVar[dict[int, torch.Tensor]] = {}

    def views(self, sample: Sample) -> tuple[View, ...]:
        return (Original(), changes_something(self.of)[self.place])

    def needs_views(
        self, logits: torch.Tensor, plausible: torch.Tensor | None, step: int
    ) -> torch.Tensor:
        return torch.full(logits.shape[:1], bool(self.steps >> step & 1))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        self.said[step] = logits[1].clone()
        return logits[0]


def read(model: secondsight.Model, samples: Sequence[Sample], **options: Any) -> dict[int, Any]:
    """What the view says at the steps at which it is read."""
    Sometimes.said.clear()
    model.answer_batch(samples, Sometimes(**options), max_new_tokens=TOKENS, schedule="lazy")
    return dict(Sometimes.said)


@pytest.fixture(scope="module")
def samples(picture: Callable[..., Image.Image]) -> list[Sample]:
    return [
        Sample(picture(2 + number, (50 - 9 * number, 40)), question, id=number)
        for number, question in enumerate(QUESTIONS)
    ]


def test_there_is_something_to_test() -> None:
    assert {name for name, _ in REGISTERED} >= {"pai", "sid", "avisc", "vista"}


@pytest.mark.parametrize(("name", "place"), REGISTERED)
@given(steps=st.integers(1, 2**TOKENS - 1))
@unhurried
def test_catching_up_equals_keeping_up(
    model: secondsight.Model, samples: list[Sample], name: str, place: int, steps: int
) -> None:
    """A view that is read now and then reads many tokens in a pass, its prompt among them."""
    every = read(model, samples[:1], of=name, place=place)
    some = read(model, samples[:1], of=name, place=place, steps=steps)
    assert set(some) == {step for step in range(TOKENS) if steps >> step & 1}
    for step, logits in some.items():
        torch.testing.assert_close(logits, every[step], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "place"), REGISTERED)
def test_alone_equals_in_company(
    model: secondsight.Model, samples: list[Sample], name: str, place: int
) -> None:
    together = read(model, samples, of=name, place=place, steps=0b1010010001)
    for number, sample in enumerate(samples):
        alone = read(model, [sample], of=name, place=place, steps=0b1010010001)
        for step, logits in alone.items():
            company = together[step]
            if len(company) == len(samples):  # all of one method and length are combined at once
                near = (company - logits).abs().amax(dim=-1)
                assert float(near.min()) < 2e-4, (number, step)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_any_mixture_answers_as_if_alone(
    model: secondsight.Model, samples: list[Sample], schedule: str
) -> None:
    settings = secondsight.Settings(max_new_tokens=TOKENS, temperature=1.0, seed=5)
    requests = [
        Request(sample, spec, settings, schedule=schedule) for spec in SPECS for sample in samples
    ]
    together = dict(model.answers(requests, batch_size=5))
    for number, request in enumerate(requests):
        [(_, alone)] = model.answers([request], batch_size=1)
        assert together[number].ids == alone.ids, request.method
