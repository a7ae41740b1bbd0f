"""LCD: contrast with a language model, the more the surer that is (arXiv 2408.04664)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch

from secondsight.methods.base import Method, parameter
from secondsight.methods.exits import Early, LanguageExit
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import NoImage, Original, View

LEAST_ENTROPY: Final = 1e-3
"""Nats below which a language model counts as no surer; its code has no floor, and so NaNs."""


@register("lcd")
@dataclass(frozen=True)
class LCD(Method):
    """Push away from what a language model says that never saw the image.

    The language model is the model itself without the image, unless another one of the same
    vocabulary is named.
    """

    source: ClassVar[str] = "arXiv 2408.04664"
    alpha: float = parameter(2.0, "weight of the contrast, divided by the entropy in nats", low=0)
    entropy: bool = parameter(True, "whether the weight is divided by the entropy")
    model: str = parameter(
        "", "another language model, by name or folder; none for the model's own", loads=True
    )

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original, and the prompt without the image unless another model reads it."""
        return (Original(),) if self.model else (Original(), NoImage())

    def early_exits(self, depth: int, *, tied: bool = False) -> tuple[LanguageExit, ...]:
        """The other language model, if one is named."""
        return (LanguageExit(self.model),) if self.model else ()

    def combine(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> torch.Tensor:
        """``(1 + a) * log p - a * log p'`` with ``a = alpha / H(p')``, as log-probabilities."""
        seen, blind = logits[0].log_softmax(dim=-1), _blind(logits, early)
        weight = self._weight(blind)[:, None]
        known = blind > float("-inf")  # of other ids the language model has nothing to say
        scores = torch.where(known, (1 + weight) * seen - weight * blind, seen)
        mask = self.plausible(logits[0])
        kept = scores if mask is None else scores.masked_fill(~mask, float("-inf"))
        return scores - kept.logsumexp(dim=-1, keepdim=True)

    def facts(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> Mapping[str, Any]:
        """The language model's entropy, and the weight that it gave the contrast."""
        blind = _blind(logits, early)
        return {"entropy": float(_entropy(blind)), "weight": float(self._weight(blind))}

    def _weight(self, blind: torch.Tensor) -> torch.Tensor:
        if not self.entropy:
            return blind.new_full(blind.shape[:1], self.alpha)
        return self.alpha / _entropy(blind).clamp(min=LEAST_ENTROPY)


def _blind(logits: torch.Tensor, early: Early | None) -> torch.Tensor:
    """The language model's log-probabilities, of shape (batch, vocabulary)."""
    said: torch.Tensor = logits[1] if early is None else early[0]
    return said.log_softmax(dim=-1)


def _entropy(logs: torch.Tensor) -> torch.Tensor:
    """In nats, of log-probabilities of shape (batch, vocabulary)."""
    return -torch.where(logs > float("-inf"), logs.exp() * logs, 0).sum(dim=-1)
