"""A sample: one picture and one question, and what the views made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from PIL import Image

from secondsight.errors import ImageError
from secondsight.images import ImageSource, open_image
from secondsight.prompts import Turn


@dataclass(frozen=True)
class Sample:
    """One picture and one question.

    Attributes:
        image: The picture, or None for a question without one.
        question: The question.
        id: Names the sample; its random numbers come from the run's seed and this name, so they
            do not depend on the batch that it lands in.
        history: Earlier turns of the conversation, each with its answer.
        pixel_filter: Applied to the normalised pixel values (float32, any shape) by the model's
            encoder; set by views that act on pixels, such as VCD's noise.
        drawn: What a view drew for this sample, in words, for the provenance.
    """

    image: ImageSource | None
    question: str
    id: str | int | None = None
    history: tuple[Turn, ...] = ()
    pixel_filter: Callable[[torch.Tensor], torch.Tensor] | None = None
    drawn: str | None = field(default=None, compare=False)

    def opened(self) -> Sample:
        """The same sample with its picture opened as 8-bit RGB.

        Raises:
            ImageError: The picture cannot be used.
        """
        if self.image is None:
            return self
        return replace(self, image=open_image(self.image))

    @property
    def picture(self) -> Image.Image:
        """The picture of an opened sample.

        Raises:
            ImageError: The sample has no picture.
        """
        if not isinstance(self.image, Image.Image):
            raise ImageError("This method looks at the image in another way, and none was given.")
        return self.image

    @property
    def digest(self) -> str:
        """Tells an opened sample's picture from others, by size and pixels."""
        if not isinstance(self.image, Image.Image):
            return "no image"
        content = repr(self.image.size).encode() + self.image.tobytes()
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    @property
    def identity(self) -> str:
        """What random numbers depend on besides the seed: the id, or else the content."""
        if self.id is not None:
            return f"id {self.id}"
        said = [(turn.question, turn.answer) for turn in self.history]
        return f"content {self.digest} {said!r} {self.question}"
