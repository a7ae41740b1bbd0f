"""An answer that goes on from a given beginning, with some words out of reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from secondsight.answer import FinishReason
from secondsight.checking.bans import Ban, banned
from secondsight.decoding.sampling import Sampler


@dataclass(frozen=True)
class Continuation:
    """How a draft is written.

    Attributes:
        beginning: The ids that it begins with.
        bans: What may not be written behind them.
        bans_at: What may not be written at one place, by how many ids stand before it.
    """

    beginning: tuple[int, ...] = ()
    bans: tuple[Ban, ...] = ()
    bans_at: Mapping[int, tuple[Ban, ...]] = field(default_factory=dict)


class ContinuingSampler:
    """A sequence's sampler that repeats a beginning, and then goes on without what is banned.

    The beginning is written token by token, as it was the first time: methods that count tokens,
    logits processors and random draws go on as if nothing had happened.

    Args:
        sampler: The sequence's own.
        how: What it begins with, and what is banned.

    Attributes:
        watched: See `Sampler.watched`.
        logs: The log-probability of each token before bans, processors and warpers, a float32
            tensor without dimensions.
    """

    def __init__(self, sampler: Sampler, how: Continuation) -> None:
        self.watched = sampler.watched
        self.logs: list[torch.Tensor] = []
        self._sampler, self._how = sampler, how
        self._ids: list[int] = []
        self._scores: torch.Tensor | None = None

    def process(self, scores: torch.Tensor) -> torch.Tensor:
        """See `Sampler.process`; bans come first, so that warpers choose among the rest."""
        if self._scores is None:  # asked again where a sequence has nothing left: not this one's
            self._scores = scores
        count = len(self._ids)
        if count >= len(self._how.beginning):
            bans = (*self._how.bans, *self._how.bans_at.get(count, ()))
            scores = banned(bans, self._ids, scores)
        return self._sampler.process(scores)

    def choose(self, scores: torch.Tensor) -> torch.Tensor | None:
        """See `Sampler.choose`; draws are made for the beginning, too."""
        chosen = self._sampler.choose(scores)
        count = len(self._ids)
        if count < len(self._how.beginning):
            return torch.tensor([self._how.beginning[count]], device=scores.device)
        return chosen

    def write(self, tokens: Sequence[int]) -> list[FinishReason | None]:
        """See `Sampler.write`."""
        assert self._scores is not None
        self.logs.append(self._scores[0].log_softmax(dim=-1)[tokens[0]])
        self._scores = None
        self._ids += tokens
        return self._sampler.write(tokens)
