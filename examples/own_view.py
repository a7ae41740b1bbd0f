"""A view of one's own, and a method that looks through it: part of the image is hidden.

A view makes a sample out of a sample. This one draws where it hides something, from the generator
that it is handed and from nowhere else: the draw then depends on the seed and the sample alone, and
the answer is the same in every batch, on every schedule, and when a run is continued.

    python examples/own_view.py
    secondsight describe cat.jpg --plugin examples/own_view.py --method peek:share=0.3 --seed 1
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from PIL import Image

import secondsight
from secondsight.methods import Method, parameter
from secondsight.sample import Sample
from secondsight.views import Original, View


@dataclass(frozen=True)
class Covered:
    """The image with a grey rectangle on it, at a place that is drawn.

    Attributes:
        share: The rectangle's share of the image's width and of its height.
    """

    share: float = 0.5
    name: str = "covered"
    draws: ClassVar[bool] = True  # with other seeds there are other views

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Cover each of the sample's images at the same relative place."""
        across, down = torch.rand(2, generator=generator).tolist()
        covered = [self._cover(image, across, down) for image in sample.images]
        return replace(sample.showing(covered), choice=f"covered at {across:.2f}, {down:.2f}")

    def _cover(self, image: Image.Image, across: float, down: float) -> Image.Image:
        size = (int(self.share * image.width), int(self.share * image.height))
        place = (int(across * (image.width - size[0])), int(down * (image.height - size[1])))
        covered = image.copy()
        covered.paste(Image.new("RGB", size, (127, 127, 127)), place)
        return covered


@secondsight.register("peek")
@dataclass(frozen=True)
class Peek(Method):
    """Add what the model says of the image with a part hidden, as RITUAL adds a transformed one."""

    source: ClassVar[str] = "examples/own_view.py"

    alpha: float = parameter(1.0, "weight of the second view", low=0)
    share: float = parameter(0.5, "how much of each side is hidden", low=0, high=1)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The image as it is, and with a part hidden."""
        return (Original(), Covered(self.share))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Scores of the next token, of shape (batch, vocabulary)."""
        return logits[0] + self.alpha * logits[1]


if __name__ == "__main__":
    model = secondsight.load()
    image = secondsight.demo_image()
    for seed in (0, 1):
        answer = model.answer(image, "Is there a dog in the image?", "peek", seed=seed)
        print(answer.text, answer.provenance["views"])
