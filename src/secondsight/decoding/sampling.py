"""From scores to tokens: logits processors, and random numbers that belong to one sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from transformers import LogitsProcessorList

from secondsight.answer import FinishReason

Ends = Callable[[Sequence[int]], FinishReason | None]
"""Says of the tokens of an answer whether the last one ends it; called once per token."""


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed from a run's seed and what it is for, the same on every machine."""
    text = "\x1f".join([str(seed), *map(str, names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int) -> torch.Generator:
    """Random numbers on the CPU, so that they are the same on any device."""
    return torch.Generator().manual_seed(seed)


def draw(scores: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Draw one token per row from softmax(scores), each row from its own generator.

    The draw is ``argmax(p / q)`` with `q` exponential, which is what ``torch.multinomial`` does
    for one row: with a generator of the same seed it gives the same token.

    Args:
        scores: float32 of shape (rows, vocabulary); -inf for tokens without a chance.
        generators: That of each row.

    Returns:
        int64 token ids of shape (rows,).
    """
    probabilities = scores.softmax(dim=-1)
    noise = torch.stack(
        [torch.empty(scores.shape[-1]).exponential_(1, generator=one) for one in generators]
    )
    return (probabilities / noise.to(scores.device)).argmax(dim=-1)


class Sampler(Protocol):
    """Chooses the tokens of a sequence, or of several that were asked for together."""

    watched: bool
    """Whether it must see the scores of all views at every step."""

    def process(self, scores: torch.Tensor) -> torch.Tensor:
        """Apply logits processors and warpers.

        Args:
            scores: float32 of shape (its running sequences, vocabulary).
        """
        ...

    def choose(self, scores: torch.Tensor) -> torch.Tensor | None:
        """The tokens, int64 of shape (its running sequences,); None for the best ones."""
        ...

    def write(self, tokens: Sequence[int]) -> list[FinishReason | None]:
        """Take the tokens of its running sequences; say which of them end with it, and why."""
        ...


class OwnSampler:
    """The sampler of one sequence.

    Args:
        prompt: The ids that logits processors see before the answer, int64 of shape (1, tokens).
        processors: Logits processors and warpers.
        seed: Of its draws; None for greedy decoding.
        ends: Says when the answer ends.

    Attributes:
        ids: The tokens so far.
    """

    def __init__(
        self,
        prompt: torch.Tensor,
        processors: LogitsProcessorList,
        seed: int | None,
        ends: Ends,
    ) -> None:
        self.watched = reads_scores(processors)
        self._processors = processors
        self._prompt = prompt
        self._generator = None if seed is None else generator(seed)
        self._ends = ends
        self.ids: list[int] = []

    def process(self, scores: torch.Tensor) -> torch.Tensor:
        """See `Sampler.process`."""
        if not self._processors:
            return scores
        written = torch.tensor([self.ids], dtype=torch.long, device=self._prompt.device)
        return self._processors(torch.cat([self._prompt, written], dim=-1), scores)

    def choose(self, scores: torch.Tensor) -> torch.Tensor | None:
        """See `Sampler.choose`."""
        return None if self._generator is None else draw(scores, [self._generator])

    def write(self, tokens: Sequence[int]) -> list[FinishReason | None]:
        """See `Sampler.write`."""
        self.ids += tokens
        return [self._ends(self.ids)]


def reads_scores(processors: LogitsProcessorList) -> bool:
    """Whether a logits processor may let a token's score decide what becomes of another token.

    Those of transformers leave a single plausible token as it is or ban it; a user's own may do
    anything, so it must see the scores of all views at every step.
    """
    return any(
        not type(processor).__module__.startswith("transformers.") for processor in processors
    )
