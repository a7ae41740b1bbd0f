"""What an image is known to show, and what that makes of an answer's statements."""

from __future__ import annotations

from typing import Any

import pytest

from secondsight import Doubt
from secondsight.benchmarks.calibrating import Truth, known_images, truths
from secondsight.benchmarks.sticker_source import sticker_instances
from secondsight.objects.lexicon import coco_lexicon

DOCUMENT: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "7.png"}, {"id": 8, "file_name": "8.png"}],
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cup"}, {"id": 3, "name": "person"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "attributes": {"color": "brown"}},
        {"image_id": 7, "category_id": 1, "attributes": {"color": "grey"}},
        {"image_id": 7, "category_id": 2, "attributes": {"color": "red"}},
        {"image_id": 7, "category_id": 2},
        {"image_id": 7, "category_id": 3, "iscrowd": 1},
    ],
}


def doubt(kind: str, name: str, text: str) -> Doubt:
    return Doubt(kind, name, text, 0, len(text), 0.5, calibrated=False)


@pytest.mark.parametrize(
    ("stated", "made_up"),
    [
        (doubt("object", "dog", "dog"), False),
        (doubt("object", "cat", "cat"), True),
        (doubt("count", "dog", "two"), False),
        (doubt("count", "dog", "3"), True),
        (doubt("count", "cat", "two"), True),  # none is there
        (doubt("count", "person", "two"), None),  # a crowd is not counted
        (doubt("colour", "dog", "brown"), False),
        (doubt("colour", "dog", "gray"), False),  # the same as grey
        (doubt("colour", "dog", "red"), True),
        (doubt("colour", "cup", "blue"), None),  # of one cup the colour is not known
        (doubt("colour", "cat", "red"), True),
    ],
)
def test_what_is_made_up(stated: Doubt, made_up: bool | None) -> None:
    found = truths(DOCUMENT, coco_lexicon())
    assert found["7"].denies(stated) is made_up


def test_an_image_without_annotations_shows_nothing() -> None:
    assert truths(DOCUMENT, coco_lexicon())["8"] == Truth()


def test_scenes_are_known_as_they_were_drawn() -> None:
    samples, truth = known_images(None, None, "What is there?", 3)
    document = sticker_instances("val")
    names = {one["id"]: one["name"] for one in document["categories"]}
    for sample, known in zip(samples, truth, strict=True):
        drawn = [one for one in document["annotations"] if str(one["image_id"]) == sample.id]
        counts: dict[str, int] = {}
        for one in drawn:
            name = names[one["category_id"]]
            counts[name] = counts.get(name, 0) + 1
        assert known.counts == counts
        assert sample.question == "What is there?"
