"""An answer piece by piece, as it is written."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from secondsight.answer import Answer

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


class Pieces(BaseStreamer):
    """Turns ids into text that never splits a character and never shows part of a stop string.

    Args:
        tokenizer: Reads the ids.
        stops: Stop strings; text that may be the beginning of one is held back.
        emit: Gets every piece of text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stops: tuple[str, ...],
        emit: Callable[[str], None],
    ) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._emit = emit
        self._ids: list[int] = []
        self._shown = 0
        self._prompt = True

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt first, then one token at a time."""
        if self._prompt:
            self._prompt = False
            return
        self._ids += value.flatten().tolist()
        text = until_stop(read(self._tokenizer, self._ids[: self._settled()]), self._stops)
        safe = len(text) - self._held_back(text)
        self._show(text, len(text[:safe].rstrip(_UNFINISHED).rstrip()))

    def _settled(self) -> int:
        """How many ids can no longer be read otherwise, whatever follows.

        A run of byte tokens is read as a whole: one stray byte unmakes every character of it.
        """
        count = len(self._ids)
        while count and _BYTE.fullmatch(
            self._tokenizer.convert_ids_to_tokens(self._ids[count - 1])
        ):
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

    def _show(self, text: str, until: int) -> None:
        if until > self._shown:
            self._emit(text[self._shown : until])
            self._shown = until

    def end(self) -> None:
        """Nothing: the rest is known once the answer is."""

    def finish(self, text: str) -> None:
        """Show what was held back, given the whole answer."""
        self._show(text, len(text))


class _Cancelled(StoppingCriteria):
    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._event.is_set(), device=input_ids.device)


class Stream(Iterator[str]):
    """Iterates over the pieces of an answer; `answer` is the whole once they are through.

    Args:
        write: Writes the answer, given a stopping criterion and where the pieces go; runs in a
            thread of its own.
    """

    def __init__(self, write: Callable[[StoppingCriteria, Callable[[str], None]], Answer]) -> None:
        self.answer: Answer | None = None
        self._write = write
        self._pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.answer = self._write(_Cancelled(self._cancelled), self._pieces.put)
            self._pieces.put(None)
        except BaseException as error:
            self._pieces.put(error)

    def __next__(self) -> str:
        piece = self._pieces.get()
        if isinstance(piece, str):
            return piece
        self._pieces.put(None)  # further calls end at once
        if piece is None:
            raise StopIteration
        raise piece

    def close(self) -> None:
        """Stop writing; the thread ends after the current token."""
        self._cancelled.set()
        self._thread.join()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
