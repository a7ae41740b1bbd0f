"""ICD: contrast with what the model says in a disturbing role (arXiv 2403.18715)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import torch

from secondsight.methods.base import Method, parameter
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import Disturbed, Original, View

DISTURBANCE: Final = "You are a confused object detector."
"""One of those that reimplementations use; ICD's own code loops over five and names no winner."""


@register("icd")
@dataclass(frozen=True)
class ICD(Method):
    """Subtract the logits that the model gives for the same image in a disturbing role."""

    source: ClassVar[str] = "arXiv 2403.18715"
    alpha: float = parameter(1.0, "weight of the contrast")
    disturbance: str = parameter(
        DISTURBANCE, "the role: in the system text's place, before the question where there is none"
    )

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original, and the same in the disturbing role."""
        return (Original(), Disturbed(self.disturbance))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``(1 + alpha) * l - alpha * l-``."""
        return (1 + self.alpha) * logits[0] - self.alpha * logits[1]
