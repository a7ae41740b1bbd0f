"""Where an answer ends, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from secondsight.answer import FinishReason


@dataclass(frozen=True)
class Ending:
    """Decides, once per token, whether an answer ends with it.

    Attributes:
        tokenizer: Reads the ids.
        ends: The end-of-sequence ids.
        stops: The stop strings.
        longest: The most tokens that the answer may have.
    """

    tokenizer: PreTrainedTokenizerBase
    ends: Collection[int]
    stops: Sequence[str]
    longest: int

    def __call__(self, ids: Sequence[int]) -> FinishReason | None:
        """Whether the last id ends the answer, and why."""
        if ids[-1] in self.ends:
            return "eos"
        if self.stops:  # read with its blanks, of which a stop string may consist
            text = str(self.tokenizer.decode(list(ids), skip_special_tokens=True))
            if any(stop in text for stop in self.stops):
                return "stop"
        return "length" if len(ids) >= self.longest else None


def end_ids(value: int | Sequence[int] | None) -> frozenset[int]:
    """A generation configuration's end-of-sequence ids, however many it has."""
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)
