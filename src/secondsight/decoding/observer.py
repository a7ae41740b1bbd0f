"""What the loop tells whoever watches it, one step at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Step:
    """One decoding step of the samples that are still being written.

    Attributes:
        index: How many tokens were generated before this one.
        samples: The numbers of the samples, in the order of the tensors below.
        logits: Every view's raw logits, float32 of shape (views, samples, vocabulary).
        plausible: Which tokens kept a chance, bool of shape (samples, vocabulary), or None.
        scores: The final scores, after logits processors and warpers, float32 of shape
            (samples, vocabulary).
        tokens: The chosen ids, int64 of shape (samples,).
    """

    index: int
    samples: list[int]
    logits: torch.Tensor
    plausible: torch.Tensor | None
    scores: torch.Tensor
    tokens: torch.Tensor


class Observer(Protocol):
    """Watches a generation. While one does, every view is read at every step."""

    def __call__(self, step: Step) -> None:
        """Called once per step, after the tokens are chosen."""
        ...
