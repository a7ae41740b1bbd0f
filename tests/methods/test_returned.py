"""Slips in somebody's own method: an error in its words, and nothing answered from them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from PIL import Image

import secondsight
from secondsight import Method, MethodError, Request, Sample, Settings, UserError
from secondsight.views import Original, View

WRONG: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "nothing": (lambda logits: None, r"combine must return scores of shape \(1, \d+\), .* None"),
    "a list": (lambda logits: logits[0].tolist(), "combine must return scores"),
    "five tokens": (lambda logits: logits[0][:, :5], r"combine .* returned \(1, 5\)"),
    "all views": (lambda logits: logits, r"combine .* returned \(1, 1, \d+\)"),
    "NaN": (lambda logits: logits[0] * float("nan"), "its scores at token 0 are not numbers"),
}


@dataclass(frozen=True)
class Own(Method):
    """A method with a slip."""

    name = "own"
    slip: str = "nothing"
    beta: float | None = None

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        made: torch.Tensor = WRONG[self.slip][0](logits)
        return made


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("slip", WRONG)
def test_scores(
    model: secondsight.Model, make_image: Callable[..., Image.Image], slip: str, temperature: float
) -> None:
    with pytest.raises(MethodError, match=f"own: {WRONG[slip][1]}"):
        model.answer(
            make_image(1), "Is it?", Own(slip=slip), max_new_tokens=3, temperature=temperature
        )
    assert model.answer(make_image(1), "Is it?", max_new_tokens=3).ids


@pytest.mark.parametrize("views", [(), None, "original", ("original",), (Original,)])
def test_views(
    model: secondsight.Model,
    make_image: Callable[..., Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    views: Any,
) -> None:
    monkeypatch.setattr(Own, "views", lambda self, sample: views)
    with pytest.raises(MethodError, match="own: views must return "):
        model.answer(make_image(1), "Is it?", Own(), max_new_tokens=3)


class Overflowing:
    """A view whose pixels are no numbers, as those of a model that overflows on it alone."""

    name = "overflowing"
    draws = False

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        return replace(sample, pixel_filter=lambda pixels: pixels * float("nan"))


@dataclass(frozen=True)
class Second(Method):
    """The original, minus another view."""

    name = "second"

    def views(self, sample: Sample) -> tuple[View, ...]:
        return (Original(), Overflowing())

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        return 2 * logits[0] - logits[1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_view_that_overflows_is_named(
    model: secondsight.Model, make_image: Callable[..., Image.Image], temperature: float
) -> None:
    with pytest.raises(UserError, match=r"scores for view 1 of second are not finite.*dtype"):
        model.answer(
            make_image(1), "Is it?", Second(beta=0), max_new_tokens=3, temperature=temperature
        )


@pytest.mark.parametrize("beta", [0, 1])
def test_it_leaves_nothing_behind_for_others(
    model: secondsight.Model, make_image: Callable[..., Image.Image], beta: float
) -> None:
    """Slots are used again, and what is masked must not be NaN. With beta 1 nobody notices it."""
    short = [Request(Sample(make_image(n), "Is it?"), "m3id") for n in range(4)]
    images = [one.sample.image for one in short]
    want = [model.answer(one, "Is it?", "m3id", max_new_tokens=4).ids for one in images]
    long = "Is it " + "very " * 60 + "red?"
    for schedule in ("joint", "lazy"):
        with contextlib.suppress(UserError):
            model.answer(
                make_image(1), long, Second(beta=beta), max_new_tokens=8, schedule=schedule
            )
        # With a long one beside them, their masked slots reach back over those of the row before.
        requests = [
            Request(Sample(make_image(9), long), "vcd", Settings(max_new_tokens=6)),
            *(replace(one, settings=Settings(max_new_tokens=4)) for one in short),
        ]
        answers = dict(model.answers(requests, batch_size=5))
        assert [answers[n + 1].ids for n in range(4)] == want
