"""M3ID: contrast with the prompt without the image, growing with length (arXiv 2403.14003)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import torch

from secondsight.methods.base import Method, parameter
from secondsight.methods.divergence import check_variant
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import NoImage, Original, View

MAX_WEIGHT: Final = 1e30
"""Where the growing weight stops, so that float32 scores stay finite at any length."""

GATE: Final = 0.3
"""The paper's gate."""


def contrast_weight(decay: float, step: int) -> float:
    """``(1 - g) / g`` for ``g = exp(-decay * step)``: 0 at step 0, finite at any length."""
    return math.expm1(min(decay * step, math.log1p(MAX_WEIGHT)))


@register("m3id")
@dataclass(frozen=True)
class M3ID(Method):
    """Push away from what the model would say without the image, the more the longer it writes.

    The variant ``code`` is what RITUAL's code computes, with plausibility; ``paper`` is the
    paper's own: on log-probabilities, counted from 1, only where the model is unsure, no
    plausibility. Whoever sets a `gate` asks for the paper's.
    """

    source: ClassVar[str] = "arXiv 2403.14003"
    decay: float = parameter(0.02, "lambda: how fast the image is forgotten, per token", low=0)
    variant: str = parameter("code", "code (as in RITUAL's code) or paper")
    gate: float = parameter(
        0.0,
        f"paper: contrast where the best probability is below it; 0 for the paper's {GATE}",
        low=0,
        high=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_variant("m3id", self.variant)
        if self.gate:
            object.__setattr__(self, "variant", "paper")
        elif self.variant == "paper":
            object.__setattr__(self, "gate", GATE)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original and the prompt without the image."""
        return (Original(), NoImage())

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``l + (1 - g)/g * (l - l-)``; the paper's variant on log-probabilities, where unsure."""
        if self.variant == "code":
            return logits[0] + contrast_weight(self.decay, step) * (logits[0] - logits[1])
        image, text = logits.log_softmax(dim=-1)
        unsure = self._unsure(logits[0]).unsqueeze(-1)
        return image + unsure * contrast_weight(self.decay, step + 1) * (image - text)

    def plausible(self, logits: torch.Tensor) -> torch.Tensor | None:
        """As the base class; the paper's variant has no plausibility."""
        return None if self.variant == "paper" else super().plausible(logits)

    def needs_views(
        self, logits: torch.Tensor, plausible: torch.Tensor | None, step: int
    ) -> torch.Tensor:
        """Nothing is at weight 0; in the paper's variant, nothing is where the model is sure."""
        first = step + (self.variant == "paper")
        if contrast_weight(self.decay, first) == 0:
            return torch.zeros(logits.shape[0], dtype=torch.bool, device=logits.device)
        if self.variant == "paper":
            return self._unsure(logits)
        return super().needs_views(logits, plausible, step)

    def _unsure(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.log_softmax(dim=-1).amax(dim=-1).exp() < self.gate
