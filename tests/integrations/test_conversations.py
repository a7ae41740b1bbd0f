"""From the messages of a chat to a sample."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from secondsight.errors import QuestionError, UnsupportedError
from secondsight.integrations.conversations import as_sample
from secondsight.prompts import Turn

RED, BLUE = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")


def said(role: str, *parts: str | Image.Image) -> dict[str, Any]:
    """A message as lmms-eval keeps it."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "url": part}
        for part in parts
    ]
    return {"role": role, "content": content}


def test_a_question_about_an_image() -> None:
    sample = as_sample([said("user", RED, "Is it red?")], "task/test/0", system="Be brief.")
    assert (sample.image, sample.question, sample.id) == (RED, "Is it red?", "task/test/0")
    assert (sample.history, sample.places, sample.system) == ((), (), "Be brief.")


def test_a_conversation() -> None:
    sample = as_sample(
        [
            said("system", "You see."),
            said("user", RED, "Is it red?"),
            said("assistant", "Yes."),
            said("user", "And", BLUE, "this?"),
        ],
        "x",
        system="Be brief.",
    )
    assert sample.history == (Turn("Is it red?", "Yes."),)
    assert sample.question == "And\nthis?"
    assert sample.image == (RED, BLUE)
    assert sample.places == (0, 1)
    assert sample.system == "You see."


def test_messages_may_be_plain_texts_and_follow_each_other() -> None:
    messages = [{"role": "user", "content": "Look."}, said("user", "What is it?")]
    sample = as_sample(messages, "x")
    assert (sample.image, sample.question) == (None, "Look.\nWhat is it?")


@pytest.mark.parametrize(
    ("messages", "error", "words"),
    [
        ([], QuestionError, "last message"),
        ([said("user", "a"), said("assistant", "b")], QuestionError, "last message"),
        ([said("assistant", "b")], QuestionError, "'assistant'"),
        ([said("user", "a"), said("system", "b")], QuestionError, "'system'"),
        ([said("user", "a"), said("assistant"), said("user", "b")], QuestionError, "'assistant'"),
        ([said("user", "a"), said("assistant", RED)], UnsupportedError, "assistant message"),
        (
            [{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}],
            UnsupportedError,
            "'video'",
        ),
    ],
)
def test_what_cannot_be_asked(messages: list[Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        as_sample(messages, "task/test/0")
