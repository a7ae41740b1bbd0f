"""Edits inside the model in every family: they work, or are refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

import secondsight
from secondsight.edits import AttentionEdit, EditedRows
from secondsight.errors import UnsupportedError
from secondsight.methods.base import parameter, plausibility
from secondsight.methods.sid import KeepLeastAttended
from secondsight.sample import Sample
from secondsight.views import Edited, View
from support.images import make_image

from .conftest import Loaded
from .test_families import NO_IMAGE_FREE_FORM

TOKENS = 8
SPECS = ("pai", "sid:keep=0.3,beta=0.01", "avisc:threshold=0.3,beta=0.01", "vista")

WITHOUT = {"pai": "pai:gamma=1", "vista": "vista:scale=0"}
"""What needs the prompt without the image, and its part that does not."""


@dataclass(frozen=True)
class Neutral(AttentionEdit):
    """Attends as ever, through the edit's own arithmetic."""

    def scores(self, layer: int, scores: torch.Tensor, at: EditedRows) -> torch.Tensor:
        return scores + 0


EDITS = {"neutral": Neutral(), "keeps all": KeepLeastAttended(1, 0.9999)}


@dataclass(frozen=True)
class Through(secondsight.Method):
    """The base view alone, with an edit."""

    edit: str = parameter("neutral", "which")
    beta: float | None = plausibility(None)

    def views(self, sample: Sample) -> tuple[View, ...]:
        return (Edited(EDITS[self.edit]),)


def samples() -> list[Sample]:
    sizes = ((120, 90), (60, 130), (84, 84))
    questions = ("Is there a dog?", "Describe this image in detail.", "What colour? Red?")
    return [
        Sample(make_image(5 + i, size), question, id=i)
        for i, (size, question) in enumerate(zip(sizes, questions, strict=True))
    ]


def answers(model: secondsight.Model, method: Any, which: list[Sample]) -> list[Any]:
    """Ids and, from the evidence, the probability of every token."""
    answers = model.answer_batch(which, method, max_new_tokens=TOKENS, evidence=True, batch_size=3)
    return [(one.ids, [token.view_probabilities for token in one.evidence]) for one in answers]


def same(have: list[Any], want: list[Any]) -> None:
    for (ids, shares), (other, others) in zip(have, want, strict=True):
        assert ids == other
        for a, b in zip(shares, others, strict=True):
            assert list(a.values()) == pytest.approx(list(b.values()), abs=2e-4)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_changes_nothing_changes_nothing(family: Loaded, edit: str) -> None:
    regular = answers(family.model, "regular", samples()[:2])
    same(answers(family.model, Through(edit=edit), samples()[:2]), regular)


@pytest.mark.parametrize("spec", SPECS)
def test_alone_equals_in_company(family: Loaded, spec: str) -> None:
    if spec in WITHOUT and family.name in NO_IMAGE_FREE_FORM:
        with pytest.raises(UnsupportedError, match="has no form without an image"):
            answers(family.model, spec, samples())
        spec = WITHOUT[spec]
    together = answers(family.model, spec, samples())
    for number, one in enumerate(samples()):
        same([together[number]], answers(family.model, spec, [one]))
