"""From the messages of a chat, as evaluation harnesses keep them, to a sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from secondsight.errors import QuestionError, UnsupportedError, shown
from secondsight.prompts import Turn
from secondsight.sample import Sample


def as_sample(
    messages: Iterable[Mapping[str, Any]], name: str, *, system: str | None = None
) -> Sample:
    """A sample of chat messages.

    Messages of one side in a row are one, joined by newlines. The images of a question are shown
    before its text, wherever in the message they stand.

    Args:
        messages: Each with a ``role`` (``system``, ``user``, ``assistant``) and a ``content``: a
            text, or a list of parts such as ``{"type": "text", "text": ...}`` and ``{"type":
            "image", "url": ...}`` with anything that a `Sample` takes for an image.
        name: The sample's id.
        system: The system text, where no message gives one.

    Raises:
        QuestionError: The messages are no conversation that ends with a question.
        UnsupportedError: A part is neither text nor image.
    """
    said: list[str] = []
    turns: list[tuple[list[str], list[str]]] = []  # of questions and answers, by message
    images: list[Any] = []
    places: list[int] = []
    for message in messages:
        role = message.get("role")
        texts, shown_here = _content(message.get("content"))
        if shown_here and role != "user":
            raise UnsupportedError(f"{name}: only questions hold images, no {role} message.")
        if role == "system" and not turns:
            said += texts
        elif role == "user":
            if not turns or turns[-1][1]:
                turns.append(([], []))
            turns[-1][0].extend(texts)
            images += shown_here
            places += [len(turns) - 1] * len(shown_here)
        elif role == "assistant" and turns and texts:
            turns[-1][1].extend(texts)
        else:
            raise QuestionError(f"{name}: a conversation cannot go on with {shown(role)} there.")
    if not turns or turns[-1][1]:
        raise QuestionError(f"{name}: the last message must be a question.")
    *earlier, (question, _) = turns
    return Sample(
        images or None,
        "\n".join(question),
        id=name,
        history=tuple(Turn("\n".join(asked), "\n".join(told)) for asked, told in earlier),
        system="\n".join(said) if said else system,
        places=tuple(places) if any(places) else (),
    )


def _content(content: str | Sequence[Mapping[str, Any]] | None) -> tuple[list[str], list[Any]]:
    """The texts and the images of a message."""
    if isinstance(content, str):
        return [content], []
    texts: list[str] = []
    images: list[Any] = []
    for part in content or ():
        kind = part.get("type")
        if kind == "text":
            texts.append(str(part["text"]))
        elif kind == "image":
            images.append(part["url"])
        else:
            raise UnsupportedError(
                f"A message holds {shown(kind)}. secondsight's models take images and text."
            )
    return texts, images
