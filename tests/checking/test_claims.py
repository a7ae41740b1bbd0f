"""What an answer states, and the tokens that state it."""

from __future__ import annotations

from functools import partial

import pytest

import secondsight
from secondsight.checking.claims import Claim, claims_in, ends_of
from secondsight.inference.streaming import read
from secondsight.objects.finding import finder


def claims(model: secondsight.Model, text: str, *, attributes: bool = False) -> list[Claim]:
    ids = model.tokenizer.encode(text, add_special_tokens=False)
    ends = ends_of(ids, partial(read, model.tokenizer))
    return claims_in(text, ends, finder(), attributes=attributes)


def test_the_tokens_of_a_name_hold_its_characters_and_no_more(model: secondsight.Model) -> None:
    text = "A dog and a fire hydrant, then two dogs."
    ids = model.tokenizer.encode(text, add_special_tokens=False)
    found = claims(model, text)
    assert [one.object for one in found] == ["dog", "fire hydrant", "dog"]
    for one in found:
        assert text[one.start : one.end] == one.text
        own = [ids[place] for place in one.tokens]
        assert one.text in model.tokenizer.decode(own)
        for fewer in (own[1:], own[:-1]):
            assert one.text not in model.tokenizer.decode(fewer)


def test_letters_of_several_tokens_before_a_name_move_nothing(model: secondsight.Model) -> None:
    text = "\u2603\U0001f600 a cat \U0001f600 a dog"
    ids = model.tokenizer.encode(text, add_special_tokens=False)
    texts = [model.tokenizer.decode([ids[at] for at in one.tokens]) for one in claims(model, text)]
    assert [text.strip() for text in texts] == ["cat", "dog"]


def test_what_is_known_of_the_first_tokens_is_not_read_again(model: secondsight.Model) -> None:
    ids = model.tokenizer.encode("A dog and a cat.", add_special_tokens=False)
    whole = ends_of(ids, partial(read, model.tokenizer))
    lengths: list[int] = []

    def counted(some: list[int]) -> str:
        lengths.append(len(some))
        return read(model.tokenizer, some)

    assert ends_of(ids, counted, whole[:3]) == whole
    assert min(lengths) == 4


@pytest.mark.parametrize("text", ["Nothing at all.", ""])
def test_a_text_that_names_nothing_states_nothing(model: secondsight.Model, text: str) -> None:
    assert claims(model, text, attributes=True) == []


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("There is no dog, but a cat.", ["cat"]),
        ("A man without a hat sits beside a dog.", ["person"]),
        ("There isn\u2019t a car. There is a bus.", ["bus"]),
        ("No dogs are here; a cat is.", ["cat"]),
    ],
)
def test_what_is_denied_is_not_stated(
    model: secondsight.Model, text: str, stated: list[str]
) -> None:
    assert [one.object for one in claims(model, text)] == stated


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("two small dogs", [("count", "two", "Are there two dogs in the image?")]),
        ("a red cup", [("colour", "red", "Is there a red cup in the image?")]),
        ("an orange cat", [("colour", "orange", "Is there an orange cat in the image?")]),
        ("The cup is red and full.", [("colour", "red", "Is there a red cup in the image?")]),
        ("The cup is red and blue.", []),
        ("3 red buses", [
            ("count", "3", "Are there 3 buses in the image?"),
            ("colour", "red", "Is there a red bus in the image?"),
        ]),
        ("one dog", []),
        ("a dog", []),
    ],
)  # fmt: skip
def test_numbers_and_colours(
    model: secondsight.Model, text: str, stated: list[tuple[str, str, str]]
) -> None:
    found = claims(model, text, attributes=True)
    assert [(one.kind, one.text, one.question) for one in found if one.kind != "object"] == stated
    assert [one.text for one in claims(model, text)] == [
        one.text for one in found if one.kind == "object"
    ]
