"""The text of ids, whole and piece by piece."""

from __future__ import annotations

import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A token that stands for one byte, in tokenizers that fall back on bytes."""

_UNFINISHED = "\ufffd"
"""What the tokenizer writes for a character whose bytes have not all come."""


def read(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of an answer's ids, without special tokens and surrounding blanks."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def until_stop(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)].rstrip() if places else text


class Pieces:
    """Turns ids into text that never splits a character and never shows part of a stop string.

    Args:
        tokenizer: Reads the ids.
        stops: Stop strings; text that may be the beginning of one is held back.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.items()
        self._special = {*tokenizer.all_special_ids, *(id for id, one in added if one.special)}
        self._stops = stops
        self._shown = 0

    def next(self, ids: Sequence[int], *, last: bool = False) -> str:
        """What became readable since the last call.

        Args:
            ids: All ids of the answer so far.
            last: Whether there will be no more, so that nothing is held back.
        """
        settled = len(ids) if last else self._settled(ids)
        text = until_stop(read(self._tokenizer, ids[:settled]), self._stops)
        until = len(text)
        if not last:
            safe = len(text) - self._held_back(text)
            until = len(text[:safe].rstrip(_UNFINISHED).rstrip())
        piece = text[self._shown : until]
        self._shown = max(self._shown, until)
        return piece

    def _in_a_run(self, token: int) -> bool:
        """Whether a token is a byte, or one that is not written and so parts no bytes.

        Special tokens are not written, nor are ids that only a padded vocabulary has.
        """
        piece = self._tokenizer.convert_ids_to_tokens(token)
        return not piece or token in self._special or _BYTE.fullmatch(piece) is not None

    def _settled(self, ids: Sequence[int]) -> int:
        """How many ids can no longer be read otherwise, whatever follows.

        A run of byte tokens is read as a whole: one stray byte unmakes every character of it.
        """
        count = len(ids)
        while count and self._in_a_run(ids[count - 1]):
            count -= 1
        return count

    def _held_back(self, text: str) -> int:
        """Length of the longest end of the text with which a stop string could begin."""
        return max(
            (
                size
                for stop in self._stops
                for size in range(1, len(stop))
                if text.endswith(stop[:size])
            ),
            default=0,
        )
