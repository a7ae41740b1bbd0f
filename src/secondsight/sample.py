"""A sample: a question and its images, and what the views made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from secondsight.errors import ImageError, QuestionError, UserError, shown
from secondsight.images import Images, is_opened, open_image
from secondsight.prompts import Turn
from secondsight.settings import is_text
from secondsight.sources import as_images, as_sources
from secondsight.strips import strips

if TYPE_CHECKING:
    import torch

    from secondsight.edits import AttentionEdit, Late, Steering

__all__ = [
    "LONGEST_TEXT",
    "Sample",
    "as_samples",
    "as_sources",
    "as_turns",
    "check_question",
    "check_text",
    "listed",
]

LONGEST_TEXT: Final = 1_000_000
"""The longest question that is looked at, in characters: no model's context holds more."""


@dataclass(frozen=True)
class Sample:
    """A question and what it is about: one image, several, or none.

    Attributes:
        image: The image (whatever `secondsight.sources.ImageSource` names); several, in the order
            in which they are shown; None for a question without one. What is given is gone
            through once, here: what stays is a path, a URL, bytes or a PIL image, or a tuple of
            them.
        question: The question.
        id: Names the sample; its random numbers come from the run's seed and this name, so they
            do not depend on the batch that it lands in.
        history: Earlier turns of the conversation, each with its answer.
        system: Text before the first turn instead of the conversation template's own; None to
            leave it as it is.
        role: Who a view tells the model to be: stands in the place of the system text, or before
            the question in families that have none.
        places: For each image the turn that shows it, counted from 0, the question being the
            last; empty where the first turn shows them all.
        pixel_filter: Applied to the normalised pixel values (float32, any shape) by the model's
            encoder; set by views that act on pixels, such as VCD's noise.
        attention: What a view changes in the model's attention, such as PAI's.
        steering: Turns hidden states towards what the image does to the prompt, as VISTA does.
        late: Makes the view once the base's prompt has been read, such as AvisC's.
        choice: What a view chose for this sample, in words, for the provenance.
        reply: What the model replied when the method asked it something before the answer.

    Raises:
        ImageError: What is given as an image is none.
        QuestionError: What is given as the history holds anything but turns.
    """

    image: Images
    question: str
    id: str | int | None = None
    history: tuple[Turn, ...] = ()
    system: str | None = None
    places: tuple[int, ...] = ()
    pixel_filter: Callable[[torch.Tensor], torch.Tensor] | None = None
    role: str | None = None
    attention: AttentionEdit | None = None
    steering: Steering | None = None
    late: Late | None = None
    choice: str | None = field(default=None, compare=False)
    reply: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", as_images(self.image))
        object.__setattr__(self, "history", as_turns(self.history))

    def checked(self) -> Sample:
        """The sample itself, if its texts can be asked.

        Raises:
            QuestionError: The question is empty or too long, or a text or the id is none.
        """
        check_question(self.question)
        if self.system is not None:
            check_text(self.system, "The system text")
        for turn in self.history:
            check_text(turn.question, "An earlier question")
            check_text(turn.answer, "An earlier answer")
        if isinstance(self.id, bool) or not isinstance(self.id, str | Integral | None):
            raise QuestionError(
                f"A sample's id must be text or a whole number, not {shown(self.id)}."
            )
        return self

    def opened(self) -> Sample:
        """The same sample with its images opened as 8-bit RGB.

        Raises:
            ImageError: An image cannot be used.
        """
        sources = as_sources(self.image)
        return self.showing(
            [
                source
                if isinstance(source, Image.Image) and is_opened(source)
                else open_image(source)
                for source in sources
            ]
        )

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
            digest.update(repr(image.size).encode())
            for top, bottom in strips(image.size):
                digest.update(image.crop((0, top, image.width, bottom)).tobytes())
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


def as_samples(samples: Iterable[Sample | tuple[Images, str]]) -> list[Sample]:
    """Samples, or pairs of an image (or several, or None) and a question, as samples.

    Raises:
        UserError: Something else is given.
    """
    given = listed(samples)
    if given is None:
        raise UserError(
            "Samples are given in a list, each a Sample or a pair (image, question); not "
            f"{shown(samples)}."
        )
    return [_as_sample(one, place) for place, one in enumerate(given, start=1)]


def _as_sample(given: Any, place: int) -> Sample:
    if isinstance(given, Sample):
        return given
    if not isinstance(given, tuple | list) or not 2 <= len(given) <= 3:
        raise UserError(
            f"Sample {place} must be a Sample or a pair (image, question), not {shown(given)}."
        )
    return Sample(*given)


def as_turns(history: Iterable[Turn]) -> tuple[Turn, ...]:
    """Earlier turns as a tuple.

    Raises:
        QuestionError: Something else is given.
    """
    turns = listed(history)
    if turns is None:
        raise QuestionError(
            "The history is a list of secondsight.Turn(question, answer) objects, not "
            f"{shown(history)}."
        )
    for turn in turns:
        if not isinstance(turn, Turn):
            raise QuestionError(
                f"The history holds secondsight.Turn(question, answer) objects, not {shown(turn)}."
            )
    return turns


def listed(things: Any) -> tuple[Any, ...] | None:
    """What an iterable holds; None for a single thing, such as a text or a table of names."""
    if isinstance(things, str | bytes | Mapping):
        return None
    try:
        iterator = iter(things)
    except TypeError:  # an array without dimensions only seems to be iterable
        return None
    return tuple(iterator)


def check_question(question: object) -> None:
    """Refuse a question that cannot be asked.

    Raises:
        QuestionError: It is empty, too long, or no text.
    """
    check_text(question, "The question")
    if not str(question).strip():
        raise QuestionError("The question is empty. Ask something about the image.")


def check_text(text: object, what: str) -> None:
    """Refuse what a tokenizer could not read, before one is asked.

    Args:
        text: What was given.
        what: What it is, for the message: ``The question``.

    Raises:
        QuestionError: It is no text, holds halves of characters, or is endless.
    """
    if not isinstance(text, str):
        raise QuestionError(f"{what} must be text, not {type(text).__name__}.")
    if len(text) > LONGEST_TEXT:
        raise QuestionError(
            f"{what} has {len(text):,} characters; at most {LONGEST_TEXT:,} are read."
        )
    if not is_text(text):
        raise QuestionError(f"{what} holds bytes that are no text. Write it in UTF-8.")
