"""What the engine tells whoever watches a sequence, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class Noting(Protocol):
    """An observer that can take note of a step before it is known whether it counts."""

    def note(self, step: Step) -> Callable[[], None]:
        """Take note of a step of one hypothesis of a search.

        Args:
            step: The step.

        Returns:
            What to call if the hypothesis is the one that is found: the observer is then told, in
            order, of its steps and no others. It should hold little of the step.
        """
        ...


def noted(observer: Observer, step: Step) -> Callable[[], None]:
    """What tells an observer of a step of a search, if the step turns out to count."""
    return observer.note(step) if isinstance(observer, Noting) else partial(observer, step)
