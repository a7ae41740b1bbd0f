"""Where an answer ends, and why."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from secondsight.answer import FinishReason


def end_of(
    ids: list[int],
    tokenizer: PreTrainedTokenizerBase,
    ends: Collection[int],
    stops: Sequence[str],
) -> tuple[list[int], FinishReason]:
    """An answer's ids up to its end; in a batch, padding follows it.

    Args:
        ids: What was written.
        tokenizer: Reads the ids.
        ends: The end-of-sequence ids.
        stops: The stop strings.

    Returns:
        The ids without the end-of-sequence token, but with the token that completes a stop
        string, and the reason.
    """

    def text(count: int) -> str:  # with its blanks, of which a stop string may consist
        return str(tokenizer.decode(ids[:count], skip_special_tokens=True))

    for place, token in enumerate(ids):
        if token in ends:
            return ids[:place], "eos"
    if not any(stop in text(len(ids)) for stop in stops):
        return ids, "length"
    count = next(n for n in range(1, len(ids) + 1) if any(stop in text(n) for stop in stops))
    return ids[:count], "stop"


class FirstToken(StoppingCriteria):
    """Notes when the first token was there; stops nothing."""

    def __init__(self) -> None:
        self.time: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Note the time, once."""
        self.time = self.time or time.perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class ContextEnd(StoppingCriteria):
    """Ends each sample where its own context does, whatever its neighbours' lengths.

    Args:
        rooms: How many tokens each sample may get.
        width: Width of the prompts.
    """

    def __init__(self, rooms: Sequence[int], width: int) -> None:
        self._rooms = torch.tensor(rooms)
        self._width = width

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Whether each sample has used its room up."""
        return (input_ids.shape[1] - self._width >= self._rooms).to(input_ids.device)
