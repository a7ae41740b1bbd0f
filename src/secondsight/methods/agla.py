"""AGLA: a second image that shows only what the question is about (arXiv 2406.12718)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from secondsight.methods.base import Method, parameter, plausibility
from secondsight.methods.registry import register
from secondsight.relevance import MATCHER, check_relevance
from secondsight.sample import Sample
from secondsight.views import Original, Relevant, View


@register("agla")
@dataclass(frozen=True)
class AGLA(Method):
    """Add the logits that the model gives for the image without what does not matter.

    In the published code the second view reads on from the original's cache after the first token
    and so says what the original says; `official` does the same.
    """

    source: ClassVar[str] = "arXiv 2406.12718"
    helper: ClassVar[str] = "an image-text matching model"
    alpha: float = parameter(2.0, "weight of the masked image")
    relevance: str = parameter("blip", "what finds the parts that matter: blip, or one's own")
    matcher: str = parameter(
        MATCHER, "blip: the image-text matching model, by name or folder", loads=True
    )
    official: bool = parameter(False, "look at the masked image for the first token only")
    beta: float | None = plausibility(0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_relevance(self.relevance)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original, and the image with what does not matter blackened."""
        return (Original(), Relevant(self.relevance, self.matcher))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``l + alpha * l+``."""
        masked = logits[0] if self.official and step else logits[1]
        return logits[0] + self.alpha * masked

    def needs_views(
        self, logits: torch.Tensor, plausible: torch.Tensor | None, step: int
    ) -> torch.Tensor:
        """As the base class; under `official` not after the first token."""
        needs = super().needs_views(logits, plausible, step)
        return needs & (not self.official or step == 0)

    def alone(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """The second view says what the original says."""
        return (1 + self.alpha) * logits
