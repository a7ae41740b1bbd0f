"""Yes/no questions: their words, and the tokens that stand for the answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from secondsight.checking.questions import answer_ids, existence, refusals
from secondsight.errors import UnsupportedError


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("dog", "Is there a dog in the image?"),
        ("umbrella", "Is there an umbrella in the image?"),
        ("fire hydrant", "Is there a fire hydrant in the image?"),
    ],
)
def test_a_question_has_its_article(name: str, question: str) -> None:
    assert existence(name) == question


class Words:
    """A tokenizer that knows some words and splits the others into letters."""

    def __init__(self, *known: str) -> None:
        self.known = known

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        if text in self.known:
            return [1000 + self.known.index(text)]
        return [ord(letter) for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.known[one - 1000] if one >= 1000 else chr(one) for one in ids)


@pytest.mark.parametrize(
    ("known", "yes", "no"),
    [
        (["yes", " Yes", "no", "No", " nose"], [1000, 1001], [1002, 1003]),
        (["yes"], [1000], [ord("N"), ord("n")]),
        ([], [ord("Y"), ord("y")], [ord("N"), ord("n")]),
    ],
)
def test_whole_words_count_and_else_their_beginnings(
    known: list[str], yes: list[int], no: list[int]
) -> None:
    tokenizer: Any = Words(*known)
    assert answer_ids(tokenizer) == (yes, no)


def test_a_tokenizer_that_cannot_tell_yes_from_no_is_refused() -> None:
    tokenizer: Any = Words()
    tokenizer.decode = lambda ids: ""
    with pytest.raises(UnsupportedError, match="yes from no"):
        answer_ids(tokenizer)


def test_refusals_compare_all_spellings_of_both() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0, 9.0], [0.0, 0.0, 0.0, 0.0]])
    likely = logits.double().softmax(-1)
    expected = likely[:, [2]].sum(-1) / likely[:, [0, 1, 2]].sum(-1)
    assert refusals(logits, [0, 1], [2]) == pytest.approx(expected.tolist())
