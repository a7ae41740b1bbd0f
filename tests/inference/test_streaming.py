"""Streams: pieces that never split a character, and add up to the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import secondsight
from secondsight.inference.streaming import Pieces, read, until_stop

QUESTION = "Is there a dog in the image?"
Picture = Callable[..., Image.Image]


def pieces_of(tokenizer: Any, ids: list[int], stops: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """What a stream shows of ids that come one by one, and the whole text."""
    shown: list[str] = []
    pieces = Pieces(tokenizer, stops, shown.append)
    pieces.put(torch.tensor([[1, 5, 6]]))
    for token in ids:
        pieces.put(torch.tensor([token]))
    pieces.end()
    text = until_stop(read(tokenizer, ids), stops)
    pieces.finish(text)
    return shown, text


def spelled(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


TEXTS = [
    "A red cat.",
    "\u20ac5 for a caf\u00e9",
    "\U0001f600\U0001f680 and \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u65e5\u672c\u8a9e\u306e\u6587",
    "a \u0645\u0631\u062d\u0628\u0627 b",
    "tabs\tand\nlines\n\nend ",
    "  leading and trailing  ",
]


@pytest.mark.parametrize("text", TEXTS)
def test_characters_arrive_whole(model: secondsight.Model, text: str) -> None:
    shown, whole = pieces_of(model.tokenizer, spelled(model.tokenizer, text))
    assert whole == text.strip()
    assert "".join(shown) == whole
    assert all(piece and "\ufffd" not in piece for piece in shown)


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
@settings(max_examples=50, deadline=None)
def test_any_text_arrives_whole(model: secondsight.Model, text: str) -> None:
    shown, whole = pieces_of(model.tokenizer, spelled(model.tokenizer, text))
    assert "".join(shown) == whole
    assert "\ufffd" in text or all("\ufffd" not in piece for piece in shown)


@given(ids=st.lists(st.integers(3, 399), max_size=25))
@settings(max_examples=80, deadline=None)
def test_any_ids_add_up(model: secondsight.Model, ids: list[int]) -> None:
    """Models may write bytes that are no text; what was shown must still be the answer."""
    shown, whole = pieces_of(model.tokenizer, ids)
    assert "".join(shown) == whole


@given(ids=st.lists(st.integers(259, 399), max_size=25), stop=st.sampled_from(["s", "th", "e i"]))
@settings(max_examples=60, deadline=None)
def test_no_part_of_a_stop_string_is_shown(
    model: secondsight.Model, ids: list[int], stop: str
) -> None:
    shown, whole = pieces_of(model.tokenizer, ids, (stop,))
    assert "".join(shown) == whole
    assert stop not in "".join(shown)


@pytest.mark.parametrize("method", ["regular", "ritual", "m3id"])
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_stream_is_the_answer(
    model: secondsight.Model, picture: Picture, method: str, temperature: float
) -> None:
    options: dict[str, Any] = {"max_new_tokens": 20, "temperature": temperature, "seed": 4}
    answer = model.answer(picture(1), QUESTION, method, **options)
    stream = model.stream(picture(1), QUESTION, method, **options)
    pieces = list(stream)
    assert "".join(pieces) == answer.text
    assert stream.answer is not None
    assert stream.answer.ids == answer.ids
    assert stream.answer.provenance == answer.provenance
    assert list(stream) == []


def test_a_stream_with_a_stop_string(model: secondsight.Model, picture: Picture) -> None:
    free = model.answer(picture(1), QUESTION, max_new_tokens=30)
    stop = next(
        word
        for token in free.ids[4:]
        if (word := model.tokenizer.decode([token])).isascii() and len(word.strip()) > 1
    )
    answer = model.answer(picture(1), QUESTION, max_new_tokens=30, stop=stop)
    assert "".join(model.stream(picture(1), QUESTION, max_new_tokens=30, stop=stop)) == answer.text
    assert answer.finish_reason == "stop"


def test_closing_early_stops_the_writing(model: secondsight.Model, picture: Picture) -> None:
    passes: list[int] = []
    hook = model.hf_model.register_forward_hook(lambda *_: passes.append(time.sleep(0.02) or 1))
    try:
        with model.stream(picture(1), QUESTION, max_new_tokens=400) as stream:
            next(stream)
        written = len(passes)
        time.sleep(0.2)
        assert len(passes) == written < 300, "nothing is written after closing"
    finally:
        hook.remove()


def test_an_error_while_writing_reaches_the_reader(
    model: secondsight.Model, picture: Picture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the lights went out")

    hook = model.hf_model.register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="lights"):
            list(model.stream(picture(1), QUESTION, max_new_tokens=4))
    finally:
        hook.remove()
