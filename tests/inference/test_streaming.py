"""Streams: pieces that never split a character, and add up to the answer."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import secondsight
from secondsight.inference.streaming import Pieces, read, until_stop

QUESTION = "Is there a dog in the image?"
MakeImage = Callable[..., Image.Image]


def pieces_of(tokenizer: Any, ids: list[int], stops: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """What a stream shows of ids that come one by one, and the whole text."""
    pieces = Pieces(tokenizer, stops)
    shown = [pieces.next(ids[:count]) for count in range(1, len(ids) + 1)]
    shown.append(pieces.next(ids, last=True))
    return [piece for piece in shown if piece], until_stop(read(tokenizer, ids), stops)


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


@given(ids=st.lists(st.integers(3, 450), max_size=25))
@settings(max_examples=80, deadline=None)
def test_any_ids_add_up(model: secondsight.Model, ids: list[int]) -> None:
    """Models may write bytes that are no text, and ids that only their padded head has."""
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
    model: secondsight.Model, make_image: MakeImage, method: str, temperature: float
) -> None:
    options: dict[str, Any] = {"max_new_tokens": 20, "temperature": temperature, "seed": 4}
    answer = model.answer(make_image(1), QUESTION, method, **options)
    stream = model.stream(make_image(1), QUESTION, method, **options)
    pieces = list(stream)
    assert "".join(pieces) == answer.text
    assert stream.answer is not None
    assert stream.answer.ids == answer.ids
    assert stream.answer.provenance == answer.provenance
    assert list(stream) == []


def test_a_stream_with_a_stop_string(model: secondsight.Model, make_image: MakeImage) -> None:
    free = model.answer(make_image(1), QUESTION, max_new_tokens=30)
    stop = next(
        word
        for token in free.ids[4:]
        if (word := model.tokenizer.decode([token])).isascii() and len(word.strip()) > 1
    )
    answer = model.answer(make_image(1), QUESTION, max_new_tokens=30, stop=stop)
    assert (
        "".join(model.stream(make_image(1), QUESTION, max_new_tokens=30, stop=stop)) == answer.text
    )
    assert answer.finish_reason == "stop"


@pytest.fixture
def passes(model: secondsight.Model) -> Iterator[list[int]]:
    """Counts the forward passes."""
    found: list[int] = []
    hook = model.hf_model.register_forward_hook(lambda *_: found.append(1))
    yield found
    hook.remove()


def test_closing_early_stops_the_writing(
    model: secondsight.Model, make_image: MakeImage, passes: list[int]
) -> None:
    with model.stream(make_image(1), QUESTION, max_new_tokens=400) as stream:
        next(stream)
        before = len(passes)
    assert len(passes) <= before + 1
    assert stream.answer is not None
    assert stream.answer.finish_reason == "cancelled"
    assert 0 < len(stream.answer.ids) < 300
    assert list(stream) == []


@pytest.mark.parametrize("how", ["break", "drop"])
def test_a_stream_that_nobody_reads_any_more_stops(
    model: secondsight.Model, make_image: MakeImage, passes: list[int], how: str
) -> None:
    if how == "break":
        for _ in model.stream(make_image(1), QUESTION, max_new_tokens=400):
            break
    else:
        dropped = model.stream(make_image(1), QUESTION, max_new_tokens=400)
        next(dropped)
        del dropped
    gc.collect()
    passes.clear()
    model.answer(make_image(2), QUESTION, max_new_tokens=5)
    # The prompt's beginning, its end, and four tokens: a sequence left over would not add any,
    # but the engine would still be busy.
    assert len(passes) <= 6
    assert model.runner.engine.idle


def test_an_error_while_writing_reaches_the_reader(
    model: secondsight.Model, make_image: MakeImage
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the lights went out")

    hook = model.hf_model.register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="lights"):
            list(model.stream(make_image(1), QUESTION, max_new_tokens=4))
    finally:
        hook.remove()
