"""How a method searches for its answer; `secondsight.decoding` does it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Retrospection:
    """OPERA's search: a penalty for trusting one token too much, and going back behind it.

    Attributes:
        beams: How many hypotheses go on at a time.
        candidates: How many tokens of each are looked at.
        weight: Of the penalty.
        scale: Attention weights are multiplied by it before their product is taken.
        threshold: The search goes back when one token was trusted most at more steps than this.
        official: Whether to do all that the published code does.
    """

    beams: int
    candidates: int
    weight: float
    scale: float
    threshold: int
    official: bool
