"""From a list of messages to a conversation: system text, turns, the question, and its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secondsight.prompts import Turn
from secondsight.server.problems import bad_request
from secondsight.server.schemas import Message, TextPart


@dataclass(frozen=True)
class Conversation:
    """What is asked, its images still as the client wrote them.

    Attributes:
        system: The system text, if one was given.
        history: The earlier turns.
        question: What is to be answered.
        images: The images' URLs in order.
        places: For each image the turn that shows it, from 0.
    """

    system: str | None
    history: tuple[Turn, ...]
    question: str
    images: tuple[str, ...]
    places: tuple[int, ...]


def conversation(messages: Sequence[Message]) -> Conversation:
    """Read the messages: system texts, then questions and answers in turn, a question last.

    Several system messages become one, several messages of a user in a row become one, joined by
    newlines. The images of a message are shown before its text.

    Raises:
        ApiError: 400: an order that no prompt can be made of.
    """
    system, rest = _system(messages)
    asked: list[tuple[list[str], list[str]]] = []
    answers: list[str] = []
    for number, message in enumerate(rest, len(messages) - len(rest)):
        texts, images = _content(message, number)
        if message.role == "assistant":
            if len(answers) == len(asked):
                raise bad_request(
                    "The conversation must begin with the user, and an answer follow a question.",
                    f"messages[{number}].role",
                )
            if images:
                raise bad_request("An answer holds no image.", f"messages[{number}].content")
            answers.append("\n".join(texts))
        elif len(answers) == len(asked):
            asked.append((texts, images))
        else:
            asked[-1][0].extend(texts)
            asked[-1][1].extend(images)
    if len(asked) == len(answers):
        raise bad_request("The last message must be the user's question.", "messages")
    questions = ["\n".join(texts) for texts, _ in asked]
    turns = zip(questions, answers, strict=False)
    return Conversation(
        system=system,
        history=tuple(Turn(question, answer) for question, answer in turns),
        question=questions[-1],
        images=tuple(image for _, images in asked for image in images),
        places=tuple(turn for turn, (_, images) in enumerate(asked) for _ in images),
    )


def _system(messages: Sequence[Message]) -> tuple[str | None, list[Message]]:
    rest = list(messages)
    said: list[str] = []
    while rest and rest[0].role in ("system", "developer"):
        texts, images = _content(rest.pop(0), len(said))
        if images:
            raise bad_request("A system message holds no image.", f"messages[{len(said)}].content")
        said.append("\n".join(texts))
    for number, message in enumerate(rest, len(said)):
        if message.role in ("system", "developer"):
            raise bad_request(
                "A system message can only stand before the conversation.",
                f"messages[{number}].role",
            )
    return ("\n".join(said) if said else None), rest


def _content(message: Message, number: int) -> tuple[list[str], list[str]]:
    """The texts and the image URLs of a message."""
    if isinstance(message.content, str):
        return [message.content], []
    texts = [part.text for part in message.content if isinstance(part, TextPart)]
    images = [part.image_url.url for part in message.content if not isinstance(part, TextPart)]
    if message.role == "assistant" and not texts:
        raise bad_request("An answer needs text.", f"messages[{number}].content")
    return texts, images
