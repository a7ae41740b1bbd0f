"""RITUAL together with VCD or M3ID.

RITUAL's first version (arXiv 2405.17821 v1) reports these combinations, but its code cannot run
them, so the formula is ours: ``l + alpha_pos * l+ + w * (l - l-)``, with `w` VCD's alpha or
M3ID's ``(1 - g) / g``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from secondsight.methods.base import Method, parameter
from secondsight.methods.m3id import contrast_weight
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import DIFFUSION_STEPS, NoImage, Noised, Original, Transformed, View


@dataclass(frozen=True)
class _RitualWithContrast(Method):
    source: ClassVar[str] = "arXiv 2405.17821 v1; formula ours"
    alpha_pos: float = parameter(3.0, "weight of the transformed view")
    transform: str = parameter("random", "hflip, vflip, rotate, color, blur, crop, or random")

    def __post_init__(self) -> None:
        super().__post_init__()
        Transformed(self.transform)

    def weight(self, step: int) -> float:
        """Weight of the contrast at a step."""
        return 0.0

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``l + alpha_pos * l+ + w * (l - l-)``."""
        original, positive, negative = logits
        return original + self.alpha_pos * positive + self.weight(step) * (original - negative)


@register("ritual+vcd")
@dataclass(frozen=True)
class RitualVCD(_RitualWithContrast):
    """RITUAL's transformed view added, VCD's noised view subtracted."""

    alpha_neg: float = parameter(1.0, "weight of the contrast with the noised view")
    step: int = parameter(500, "diffusion step of the noise", low=0, high=DIFFUSION_STEPS - 1)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original, the transformed and the noised image."""
        return (Original(), Transformed(self.transform), Noised(self.step))

    def weight(self, step: int) -> float:
        """VCD's alpha."""
        return self.alpha_neg


@register("ritual+m3id")
@dataclass(frozen=True)
class RitualM3ID(_RitualWithContrast):
    """RITUAL's transformed view added, M3ID's image-free view subtracted."""

    decay: float = parameter(0.02, "lambda: how fast the image is forgotten, per token", low=0)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original, the transformed image, and the prompt without the image."""
        return (Original(), Transformed(self.transform), NoImage())

    def weight(self, step: int) -> float:
        """M3ID's ``(1 - g) / g``."""
        return contrast_weight(self.decay, step)
