"""RITUAL: random image transformations as a second, agreeing view (arXiv 2405.17821)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

import torch

from secondsight.methods.base import Method, parameter
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import Original, Transformed, View


@register("ritual")
@dataclass(frozen=True)
class Ritual(Method):
    """Add the logits that the model gives for a transformed image."""

    source: ClassVar[str] = "arXiv 2405.17821"
    alpha: float = parameter(3.0, "weight of the transformed view")
    transform: str = parameter("random", "hflip, vflip, rotate, color, blur, crop, or random")

    def __post_init__(self) -> None:
        super().__post_init__()
        Transformed(self.transform)  # refuses an unknown name now, not when the run starts

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original and one transformed image."""
        return (Original(), Transformed(self.transform))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``l + alpha * l+``."""
        return logits[0] + self.alpha * logits[1]


CHOICES: Final = {
    "hflip": ("horizontal flip", "mirror"),
    "vflip": ("vertical flip", "upside down"),
    "rotate": ("rotation", "rotat"),
    "color": ("color jitter", "colour", "color"),
    "blur": ("gaussian blur", "blur"),
    "crop": ("random resized crop", "crop"),
}
"""How each transform is offered to the model, and the words by which its reply names it."""


@register("ritual+")
@dataclass(frozen=True)
class RitualPlus(Ritual):
    """RITUAL with the transform chosen by the model itself (arXiv 2405.17821 v2, "RITUAL+")."""

    source: ClassVar[str] = "arXiv 2405.17821 v2"

    def ask_first(self, sample: Sample) -> str | None:
        """Which transform helps (in our own words)."""
        options = ", ".join(words[0] for words in CHOICES.values())
        return (
            "I will show you this image a second time, changed in one way, to help you answer "
            f"the question: {sample.question} Which of these changes helps most: {options}? "
            "Reply with the name of one change."
        )

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original and the transform that the reply names; one is drawn if it names none."""
        chosen = chosen_transform(sample.reply or "")
        return (Original(), Transformed(chosen or self.transform))


def chosen_transform(reply: str) -> str | None:
    """The transform that a reply names first, or None."""
    found = {
        name: min(
            (match.start() for word in words if (match := re.search(word, reply, re.IGNORECASE))),
            default=None,
        )
        for name, words in CHOICES.items()
    }
    named = {name: place for name, place in found.items() if place is not None}
    return min(named, key=lambda name: named[name]) if named else None
