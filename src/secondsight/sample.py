"""A sample: a question and its images, and what the views made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image

from secondsight.errors import ImageError
from secondsight.images import Images, ImageSource, open_image
from secondsight.prompts import Turn


@dataclass(frozen=True)
class Sample:
    """A question and what it is about: one image, several, or none.

    Attributes:
        image: The image; several, in the order in which they are shown; None for a question
            without one.
        question: The question.
        id: Names the sample; its random numbers come from the run's seed and this name, so they
            do not depend on the batch that it lands in.
        history: Earlier turns of the conversation, each with its answer.
        system: Text before the first turn instead of the conversation template's own; None to
            leave it as it is.
        places: For each image the turn that shows it, counted from 0, the question being the
            last; empty where the first turn shows them all.
        pixel_filter: Applied to the normalised pixel values (float32, any shape) by the model's
            encoder; set by views that act on pixels, such as VCD's noise.
        drawn: What a view drew for this sample, in words, for the provenance.
    """

    image: Images
    question: str
    id: str | int | None = None
    history: tuple[Turn, ...] = ()
    system: str | None = None
    places: tuple[int, ...] = ()
    pixel_filter: Callable[[torch.Tensor], torch.Tensor] | None = None
    drawn: str | None = field(default=None, compare=False)

    def opened(self) -> Sample:
        """The same sample with its images opened as 8-bit RGB.

        Raises:
            ImageError: An image cannot be used.
        """
        return self.showing([open_image(source) for source in as_sources(self.image)])

    def showing(self, images: Sequence[Image.Image]) -> Sample:
        """The same sample with other images."""
        one = len(images) == 1
        return replace(self, image=images[0] if one else tuple(images) or None)

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The images of an opened sample, in order; none where it has none."""
        sources = as_sources(self.image)
        return tuple(source for source in sources if isinstance(source, Image.Image))

    @property
    def images_by_turn(self) -> tuple[tuple[Image.Image, ...], ...]:
        """The images of an opened sample by the turn that shows them, the question's last.

        Raises:
            ImageError: `places` names a turn that there is not, or not one for each image.
        """
        turns = range(len(self.history) + 1)
        if not self.places or not self.images:
            return tuple(self.images if turn == 0 else () for turn in turns)
        if len(self.places) != len(self.images) or not set(self.places) <= set(turns):
            raise ImageError(
                f"places is {self.places}: it must name one of the {len(turns)} turns, from 0, "
                f"for each of the {len(self.images)} images."
            )
        placed = tuple(zip(self.places, self.images, strict=True))
        return tuple(tuple(image for place, image in placed if place == turn) for turn in turns)

    @property
    def digest(self) -> str:
        """Tells an opened sample's images from others, by sizes and pixels."""
        if not self.images:
            return "no image"
        digest = hashlib.blake2b(digest_size=16)
        for image in self.images:
            digest.update(repr(image.size).encode() + image.tobytes())
        return digest.hexdigest()

    @property
    def identity(self) -> str:
        """What random numbers depend on besides the seed: the id, or else the content."""
        if self.id is not None:
            return f"id {self.id}"
        said = [(turn.question, turn.answer) for turn in self.history]
        # Written only where given: the numbers of all other samples stay as they were recorded.
        more = f" system {self.system!r}" if self.system is not None else ""
        more += f" places {self.places!r}" if self.places else ""
        return f"content {self.digest} {said!r} {self.question}{more}"


def as_sources(images: Images) -> tuple[ImageSource, ...]:
    """One image, several or none, as a tuple."""
    if images is None:
        return ()
    if isinstance(images, str | Path | bytes | Image.Image):
        return (images,)
    return tuple(images)
