"""What may not be written: the beginnings of an object's names, as tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import torch
from transformers import PreTrainedTokenizerBase

Ban = tuple[int, ...]
"""Ids of which the last may not follow the others."""

_TELLING: Final = 3
"""Letters after which a name is taken for begun: fewer begin too many other words."""


def bans_of(spelled: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> list[Ban]:
    """The beginnings of all spellings of a name.

    Args:
        spelled: The spellings, in lower case.
        tokenizer: The model's.
    """
    before = _ids(tokenizer, "a")
    found: dict[Ban, None] = {}
    for text in spelled:
        for cased in (text, text.capitalize(), text.title()):
            # Behind a word and at a text's beginning, where some tokenizers write it otherwise.
            behind = _ids(tokenizer, f"a {cased}")[len(before) :]
            for ids in (behind, _ids(tokenizer, cased)):
                found[_beginning(ids, len(cased), tokenizer)] = None
    return [ban for ban in found if ban]


def banned(bans: Sequence[Ban], ids: Sequence[int], scores: torch.Tensor) -> torch.Tensor:
    """Scores in which what would go on with a banned beginning has no chance.

    Args:
        bans: The beginnings.
        ids: What is written so far.
        scores: float32 of shape (1, vocabulary).
    """
    out = [
        ban[-1]
        for ban in bans
        if len(ban) == 1 or tuple(ids[len(ids) - len(ban) + 1 :]) == ban[:-1]
    ]
    if not out:
        return scores
    return scores.index_fill(-1, torch.tensor(out, device=scores.device), float("-inf"))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(one) for one in tokenizer.encode(text, add_special_tokens=False)]


def _beginning(ids: Sequence[int], length: int, tokenizer: PreTrainedTokenizerBase) -> Ban:
    """The first ids of a name, until three letters of it are there, or all."""
    for count in range(1, len(ids) + 1):
        if len(str(tokenizer.decode(ids[:count])).strip()) >= min(_TELLING, length):
            return tuple(ids[:count])
    return tuple(ids)
