"""OPERA: beams that are punished for trusting one token too much, and go back behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secondsight.methods.base import Method, parameter, plausibility
from secondsight.methods.registry import register
from secondsight.methods.searches import Retrospection


@register("opera")
@dataclass(frozen=True)
class Opera(Method):
    """Search with a penalty for attention that keeps to one written token, and with rollbacks."""

    source: ClassVar[str] = "arXiv 2311.17911"
    beams: int = parameter(5, "hypotheses; 1 for greedy decoding", low=1, high=64)
    candidates: int = parameter(5, "tokens of each hypothesis that are looked at", low=1, high=64)
    weight: float = parameter(1.0, "weight of the penalty", low=0)
    scale: float = parameter(50.0, "attention is multiplied by it before products", low=0)
    threshold: int = parameter(
        15, "go back when one token was trusted most at more steps than this", low=-1
    )
    official: bool = parameter(
        False,
        "as the code does: half precision, scores over the candidates alone, locations by slot",
    )
    beta: float | None = plausibility(None)

    def search(self) -> Retrospection:
        """Its own search."""
        return Retrospection(
            self.beams, self.candidates, self.weight, self.scale, self.threshold, self.official
        )
