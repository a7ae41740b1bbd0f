"""What the engine tells whoever watches a sequence, one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class Step:
    """One decoding step of one sequence.

    Attributes:
        index: How many tokens were generated before this one.
        sequence: The sequence's number, in the order in which they were given.
        logits: Every view's raw logits, float32 of shape (views, vocabulary).
        plausible: Which tokens kept a chance, bool of shape (vocabulary,), or None.
        scores: The final scores, after logits processors and warpers, float32 of shape
            (vocabulary,).
        token: The chosen id.
        facts: What else the method decided, by name.
    """

    index: int
    sequence: int
    logits: torch.Tensor
    plausible: torch.Tensor | None
    scores: torch.Tensor
    token: int
    facts: Mapping[str, Any] = field(default_factory=dict)


class Observer(Protocol):
    """Watches a sequence. While one does, every view is read at every step."""

    def __call__(self, step: Step) -> None:
        """Called once per step, after the token is chosen."""
        ...
