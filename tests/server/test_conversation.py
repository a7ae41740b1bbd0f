"""Messages become a conversation, and images keep their turns."""

from __future__ import annotations

from typing import Any

import pytest

from secondsight import Turn
from secondsight.server.messages import conversation
from secondsight.server.problems import ApiError
from secondsight.server.schemas import Message


def read(*messages: dict[str, Any]) -> Any:
    return conversation([Message.model_validate(message) for message in messages])


def user(text: str, *images: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_a_question() -> None:
    talk = read({"role": "user", "content": "What?"})
    assert (talk.system, talk.history, talk.question) == (None, (), "What?")


def test_turns_and_their_images() -> None:
    talk = read(user("A?", "a", "b"), answer("B."), user("C?"), answer("D."), user("E?", "c"))
    assert talk.history == (Turn("A?", "B."), Turn("C?", "D."))
    assert talk.question == "E?"
    assert talk.images == ("a", "b", "c")
    assert talk.places == (0, 0, 2)


def test_system_texts_become_one() -> None:
    talk = read(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        user("Q?"),
    )
    assert talk.system == "Be brief.\nBe kind."


def test_messages_in_a_row_become_one() -> None:
    talk = read(user("One.", "a"), user("Two?", "b"))
    assert (talk.question, talk.images, talk.places) == ("One.\nTwo?", ("a", "b"), (0, 0))


@pytest.mark.parametrize(
    "messages",
    [
        [answer("x")],
        [user("x"), answer("y")],
        [user("x"), answer("y"), answer("z"), user("w")],
        [user("x"), {"role": "system", "content": "y"}, user("z")],
        [{"role": "system", "content": "x"}],
        [user("x"), {**user("y", "a"), "role": "assistant"}, user("z")],
        [{**user("y", "a"), "role": "system"}, user("z")],
    ],
)
def test_orders_that_no_prompt_can_be_made_of(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(ApiError) as wrong:
        read(*messages)
    assert wrong.value.status == 400
