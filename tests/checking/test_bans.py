"""What is banned: the beginnings of names, against transformers' own processor."""

from __future__ import annotations

import pytest
import torch
from transformers import NoBadWordsLogitsProcessor

import secondsight
from secondsight.checking.bans import banned, bans_of
from secondsight.objects.finding import finder


@pytest.mark.parametrize("name", ["dog", "fire hydrant", "person", "tv"])
def test_no_spelling_can_be_written(model: secondsight.Model, name: str) -> None:
    bans = set(bans_of(finder().spellings(name), model.tokenizer))
    for text in finder().spellings(name):
        for written in (f"I see a {text}", f"{text} here", f"{text.capitalize()} here"):
            ids = model.tokenizer.encode(written, add_special_tokens=False)
            runs = {tuple(ids[a:b]) for a in range(len(ids)) for b in range(a + 1, len(ids) + 1)}
            assert bans & runs, written


def test_scores_are_those_of_transformers(model: secondsight.Model) -> None:
    bans = [(5,), (7, 8), (9, 10, 11)]
    theirs = NoBadWordsLogitsProcessor([list(ban) for ban in bans], eos_token_id=None)
    scores = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    for ids in ([], [1], [7], [9], [9, 10], [3, 9, 10], [10, 9]):
        ours = banned(bans, ids, scores)
        given = torch.tensor([[2, *ids]])
        assert torch.equal(ours, theirs(given, scores))
    assert banned([(7, 8)], [1], scores) is scores
