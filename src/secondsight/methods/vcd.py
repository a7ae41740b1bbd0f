"""VCD: contrast with the image drowned in diffusion noise (arXiv 2311.16922)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from secondsight.methods.base import Method, parameter
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import DIFFUSION_STEPS, Noised, Original, View


@register("vcd")
@dataclass(frozen=True)
class VCD(Method):
    """Subtract the logits that the model gives for a noised image."""

    source: ClassVar[str] = "arXiv 2311.16922"
    alpha: float = parameter(1.0, "weight of the contrast")
    step: int = parameter(500, "diffusion step of the noise", low=0, high=DIFFUSION_STEPS - 1)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original and the noised image."""
        return (Original(), Noised(self.step))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``(1 + alpha) * l - alpha * l-``."""
        return (1 + self.alpha) * logits[0] - self.alpha * logits[1]
