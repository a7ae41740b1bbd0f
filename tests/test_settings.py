"""Settings: Python's own types from whatever numbers are given, everything else refused."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secondsight import Request, Sample, Settings, Turn, UserError
from secondsight.errors import shown
from secondsight.sample import LONGEST_TEXT, as_samples
from secondsight.settings import flag


def test_numbers_of_all_kinds_become_pythons() -> None:
    settings = Settings(
        max_new_tokens=np.int64(5),
        temperature=np.float32(0.5),
        top_p=Fraction(1, 4),
        top_k=np.int8(3),
        repetition_penalty=np.float64(1.5),
        seed=np.uint64(2**63),
    )
    assert json.loads(json.dumps(settings.recorded())) == {
        "max_new_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 3,
        "repetition_penalty": 1.5,
        "stop": [],
        "seed": 2**63,
    }


@pytest.mark.parametrize("stop", ["ab", ["ab"], ("ab",)])
def test_one_stop_string_is_one(stop: Any) -> None:
    assert Settings(stop=stop).stop == ("ab",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", np.bool_(True)),
        ("max_new_tokens", 5.0),
        pytest.param("temperature", 10**5000, id="temperature-huge"),
        ("temperature", 1j),
        ("seed", 2**64),
        ("stop", 7),
        ("stop", [b"a"]),
        ("stop", "\ud800"),
        ("stop", {"a": "b"}),
    ],
)
def test_what_is_no_setting(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=name) as caught:
        Settings(**{name: value})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_flags() -> None:
    assert flag("x", np.bool_(True)) is True
    assert flag("x", 0) is False
    for value in ("no", None, [], 2, 0.5):
        with pytest.raises(UserError, match="x must be True or False"):
            flag("x", value)


@pytest.mark.parametrize(
    "options",
    [
        {"evidence": "no"},
        {"share_views": None},
        {"schedule": 7},
        {"settings": {"seed": 1}},
        {"sample": "What?"},
    ],
)
def test_requests_of_other_types(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Request(**{"sample": Sample(None, "What?"), **options})


def test_samples_and_pairs() -> None:
    sample = Sample(None, "What?")
    assert as_samples(iter([sample, (None, "What?"), [None, "What?"]])) == [sample] * 3
    for given in (None, "ab", b"ab", {"a": "b"}, sample, np.array(3)):
        with pytest.raises(UserError, match="in a list"):
            as_samples(given)
    for given in ("ab", (), ("a",), {"image": None, "question": "What?"}, None, (1, 2, 3, 4)):
        with pytest.raises(UserError, match="Sample 2 must be"):
            as_samples([sample, given])


@pytest.mark.parametrize("history", [None, 7, "ab", {"a": "b"}, [("a", "b")], [None], np.array(3)])
def test_a_history_that_is_none(history: Any) -> None:
    with pytest.raises(UserError, match="history"):
        Sample(None, "What?", history=history)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"question": None}, "must be text"),
        ({"question": b"What?"}, "must be text"),
        ({"question": "\ud800"}, "no text"),
        ({"question": "x" * (LONGEST_TEXT + 1)}, "1,000,001 characters"),
        ({"system": 7}, "system text must be text"),
        ({"history": [Turn("a", None)]}, "earlier answer must be text"),
        ({"history": [Turn("\udcff", "b")]}, "earlier question holds"),
        ({"id": 1.5}, "id must be"),
        ({"id": True}, "id must be"),
        ({"id": ["a"]}, "id must be"),
    ],
)
def test_samples_whose_texts_are_none(options: dict[str, Any], words: str) -> None:
    sample = Sample(**{"image": None, "question": "What?", **options})
    with pytest.raises(UserError, match=words):
        sample.checked()


def test_a_history_is_gone_through_once() -> None:
    sample = Sample(None, "What?", history=(Turn(one, "yes") for one in "ab"))  # type: ignore
    assert sample.history == (Turn("a", "yes"), Turn("b", "yes"))
    assert sample.checked() is sample


def test_values_in_messages() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown("a\nb") == r"'a\nb'"
    assert shown(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert len(shown("x" * 500)) == 80
    assert shown(Odd()) == "<Odd>"
    assert shown(10**5000) == "<int>"


def test_views_that_are_given_are_gone_through_once() -> None:
    image = Image.new("RGB", (3, 2))
    views = [(one for one in [image]), None, Sample(None, "Why?"), np.zeros((2, 3), np.uint8)]
    request = Request(Sample(image, "What?"), views=iter(views))  # type: ignore[arg-type]
    assert request.views[:3] == (image, None, Sample(None, "Why?"))
    assert isinstance(request.views[3], Image.Image)
    for given in (None, "ab", image, [7], [[]]):
        with pytest.raises(UserError):
            Request(Sample(image, "What?"), views=given)  # type: ignore[arg-type]
