"""Captions and questions say what is true."""

from __future__ import annotations

import re

import pytest

from secondsight.benchmarks.stickers import (
    BY_NAME,
    TASKS,
    make_scene,
    mme_pair,
    reference_captions,
)
from secondsight.benchmarks.stickers.captions import NUMBERS, common_colour, place_of
from secondsight.objects.lexicon import coco_lexicon
from secondsight.objects.mentions import find_mentions


@pytest.mark.parametrize("split", ["test", "conflict", "hard"])
def test_captions_name_every_object_and_no_other(split: str) -> None:
    from training.evaluate import named

    for index in range(60):
        scene = make_scene(split, index)
        texts = reference_captions(scene)
        assert len(texts) == 5
        assert texts == reference_captions(scene)
        for text in texts:
            assert named(text) == set(scene.categories), text
            assert text.endswith(".")
            assert text[0].isupper()


def test_questions_have_one_yes_and_one_no() -> None:
    asked = dict.fromkeys(TASKS, 0)
    for index in range(120):
        scene = make_scene("test", index)
        for task in TASKS:
            pair = mme_pair(scene, task)
            assert pair == mme_pair(scene, task)
            if pair is None:
                continue
            asked[task] += 1
            yes, no = (q.removesuffix(" Please answer yes or no.") for q in pair)
            assert yes != no
            _CHECKS[task](scene, yes, no)
    assert min(asked.values()) > 60


def _existence(scene, yes, no):  # type: ignore[no-untyped-def]
    name = r"Is there an? (.*) in this image\?"
    assert re.fullmatch(name, yes)[1] in scene.categories
    assert re.fullmatch(name, no)[1] not in scene.categories


def _count(scene, yes, no):  # type: ignore[no-untyped-def]
    def said(text):  # type: ignore[no-untyped-def]
        one = re.fullmatch(r"Is there only one (.*) in the image\?", text)
        if one:
            return one[1], 1
        number, plural = re.fullmatch(r"Are there (\w+) (.*) in the image\?", text).groups()
        name = next(c.name for c in BY_NAME.values() if c.plural == plural)
        return name, NUMBERS.index(number)

    name, number = said(yes)
    other, wrong = said(no)
    assert name == other
    assert len(scene.of(name)) == number != wrong


def _position(scene, yes, no):  # type: ignore[no-untyped-def]
    ask = r"Is the (.*) on the (left|right) side of the (.*)\?"
    for text, truth in ((yes, True), (no, False)):
        a, side, b = re.fullmatch(ask, text).groups()
        (first,), (second,) = scene.of(a), scene.of(b)
        assert ((first.centre[0] < second.centre[0]) == (side == "left")) == truth


def _color(scene, yes, no):  # type: ignore[no-untyped-def]
    ask = r"Is there an? (\w+) (.*) in the image\?"
    colour, name = re.fullmatch(ask, yes).groups()
    wrong, same = re.fullmatch(ask, no).groups()
    assert name == same
    assert common_colour(scene.of(name)) == colour != wrong


_CHECKS = {"existence": _existence, "count": _count, "position": _position, "color": _color}


def test_places_cover_the_image() -> None:
    from secondsight.benchmarks.stickers import SceneObject

    def at(x: float, y: float) -> str:
        return place_of(SceneObject("dog", "1f415", (x, y), 0.2, 0.0, False, None))

    assert at(0.1, 0.5) == "on the left"
    assert at(0.9, 0.1) == "at the top right"
    assert at(0.5, 0.9) == "at the bottom"
    assert at(0.5, 0.5) == "in the middle"


@pytest.mark.parametrize("split", ["train", "conflict"])
def test_chair_reads_the_reference_captions_right(split: str) -> None:
    """No word around the objects is one of CHAIR's synonyms for an object."""
    lexicon = coco_lexicon()
    for index in range(25):
        scene = make_scene(split, index)
        for text in reference_captions(scene):
            found = {m.object for m in find_mentions(text, lexicon)}
            assert found == set(scene.categories), text
