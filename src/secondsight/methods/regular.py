"""Regular decoding, and the controls that any gain must be measured against (arXiv 2504.10020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from secondsight.methods.base import Method, parameter, plausibility
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import Original, View


@register("regular")
@dataclass(frozen=True)
class Regular(Method):
    """The model's own distribution, untouched."""

    beta: float | None = plausibility(None)


@register("greedy")
@dataclass(frozen=True)
class Greedy(Method):
    """Always the likeliest token, whatever the temperature: plausibility with beta 1."""

    control: ClassVar[bool] = True
    beta: float | None = plausibility(1.0)


@register("apc")
@dataclass(frozen=True)
class Plausibility(Method):
    """The plausibility constraint alone: the truncation that contrastive methods bring along."""

    source: ClassVar[str] = "arXiv 2504.10020"
    control: ClassVar[bool] = True


@register("sharpened")
@dataclass(frozen=True)
class Sharpened(Method):
    """The model's own distribution at a lower temperature: what RITUAL is when its views agree."""

    source: ClassVar[str] = "arXiv 2504.10020"
    control: ClassVar[bool] = True
    beta: float | None = plausibility(None)
    temperature: float = parameter(0.25, "the logits are divided by it", low=1e-3)

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``l / temperature``."""
        return logits[0] / self.temperature


@register("identity")
@dataclass(frozen=True)
class Identity(Method):
    """RITUAL with the untouched image as its second view: all of its form, none of its idea."""

    source: ClassVar[str] = "arXiv 2504.10020"
    control: ClassVar[bool] = True
    alpha: float = parameter(3.0, "weight of the second look at the same image")

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original, twice."""
        return (Original(), Original(name="original again"))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``l + alpha * l'``."""
        return logits[0] + self.alpha * logits[1]
