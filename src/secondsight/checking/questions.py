"""Yes/no questions about an image, answered by the probabilities of the first token."""

from __future__ import annotations

from functools import cache

import torch
from transformers import PreTrainedTokenizerBase

from secondsight.errors import UnsupportedError

_SPELLINGS = ("{}", " {}")


def existence(name: str, *, images: int = 1) -> str:
    """The question whether an object is in the image, in POPE's words."""
    return f"Is there {with_article(name)} in the {'image' if images == 1 else 'images'}?"


@cache
def with_article(name: str) -> str:
    """A name behind "a" or "an"."""
    import inflect  # here, because importing it takes long

    return str(inflect.engine().a(name))


def answer_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The first tokens of yes and of no, in lower, title and upper case, with and without a blank.

    Spellings of one token count; where a word has none, the beginnings of its spellings do. A
    token with which both words begin counts for neither.

    Raises:
        UnsupportedError: The tokenizer tells the two apart later than at the first token.
    """
    yes, no = (_first_ids(tokenizer, word) for word in ("yes", "no"))
    if not (yes - no and no - yes):
        raise UnsupportedError(
            "This model's tokenizer does not tell yes from no by the first token, so its answers "
            "cannot be checked by yes/no questions."
        )
    return sorted(yes - no), sorted(no - yes)


def _first_ids(tokenizer: PreTrainedTokenizerBase, word: str) -> set[int]:
    whole, begun = set(), set()
    for cased in (word, word.title(), word.upper()):
        for spelling in _SPELLINGS:
            ids = tokenizer.encode(spelling.format(cased), add_special_tokens=False)
            text = str(tokenizer.decode(ids[:1])).strip()
            if text == cased:
                whole.add(int(ids[0]))
            elif text:  # a blank alone begins everything
                begun.add(int(ids[0]))
    return whole or begun


def refusals(logits: torch.Tensor, yes: list[int], no: list[int]) -> list[float]:
    """p(no) / (p(yes) + p(no)) of each view.

    Args:
        logits: Of the first token of the reply, float32 of shape (views, vocabulary).
        yes: Ids that stand for yes.
        no: Ids that stand for no.
    """
    for_yes = logits[:, yes].logsumexp(dim=-1)
    for_no = logits[:, no].logsumexp(dim=-1)
    found: list[float] = torch.sigmoid(for_no - for_yes).tolist()
    return found
