"""A decoding method of one's own: what the model sees sharply counts more than what it guesses.

The second view is the same image blurred. What the model says of a blurred image as well comes from
guessing, so it is subtracted, the more the larger `alpha`. Run it to see an answer change:

    python examples/own_method.py

or use it by name on the command line:

    secondsight compare cat.jpg --plugin examples/own_method.py --methods "regular,deblur:alpha=2"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

import secondsight
from secondsight.methods import Method, parameter
from secondsight.sample import Sample
from secondsight.views import Original, Transformed, View


@secondsight.register("deblur")
@dataclass(frozen=True)
class Deblur(Method):
    """Push away from what the model says of the blurred image."""

    source: ClassVar[str] = "examples/own_method.py"

    # A field is a parameter: `deblur:alpha=2` sets it, its range is checked, tables list it.
    # `beta`, the share of the best probability below which a token has no chance, is inherited.
    alpha: float = parameter(1.0, "weight of the contrast", low=0)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The image as it is, which always comes first, and blurred."""
        return (Original(), Transformed("blur"))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Scores of the next token, of shape (batch, vocabulary).

        Row by row and position by position: one sample's scores may not depend on another's, or an
        answer would depend on its neighbours in the batch.
        """
        sharp, blurred = logits
        return (1 + self.alpha) * sharp - self.alpha * blurred


if __name__ == "__main__":
    model = secondsight.load()
    image = secondsight.demo_image()
    for method in ("regular", "deblur", "deblur:alpha=3"):
        answer = model.answer(image, "Describe this image in detail.", method, max_new_tokens=40)
        print(f"{method:15} {answer.text}")
