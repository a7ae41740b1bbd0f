"""POPE's sampling, by the published procedure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from secondsight.benchmarks.pope_questions import build_pope_questions
from secondsight.benchmarks.sticker_source import sticker_pope_items
from secondsight.benchmarks.stickers import instances_document, make_scene, render

NAMES = ("apple", "bench", "cat", "dog", "elephant", "fork", "giraffe", "horse")


def toy(images: list[str]) -> dict[str, Any]:
    """Images given by the initials of their objects."""
    return {
        "images": [{"id": i + 1, "file_name": f"{i + 1}.png"} for i in range(len(images))],
        "categories": [{"id": 10 + i, "name": name} for i, name in enumerate(NAMES)],
        "annotations": [
            {"image_id": i + 1, "category_id": 10 + "abcdefgh".index(letter)}
            for i, letters in enumerate(images)
            for letter in letters
        ],
    }


def negatives(lines: list[dict[str, Any]], image: str) -> list[str]:
    return [
        x["text"].split(" ", 3)[3].removesuffix(" in the image?")
        for x in lines
        if x["image"] == image and x["label"] == "no"
    ]


def test_popular_takes_the_most_frequent_absent_objects() -> None:
    lines = build_pope_questions(toy(["abc", "def", "defa", "dega"]), strategy="popular")
    assert negatives(lines, "1.png") == ["dog", "elephant", "fork"]


def test_adversarial_takes_the_most_often_seen_together() -> None:
    world = toy(["abc", "abcg", "abch", "abcg", "def", "defh", "def", "def", "def"])
    lines = build_pope_questions(world, strategy="adversarial", per_image=2)
    assert negatives(lines, "1.png") == ["giraffe", "horse"]
    popular = build_pope_questions(world, strategy="popular", per_image=2)
    assert negatives(popular, "1.png") == ["dog", "elephant"]


def test_random_covers_the_absent_objects_evenly() -> None:
    world = toy(["abc"] * 300)
    lines = build_pope_questions(world, strategy="random")
    asked = Counter(x["text"] for x in lines if x["label"] == "no")
    assert len(asked) == 5
    assert min(asked.values()) > 130


@pytest.mark.parametrize("strategy", ["random", "popular", "adversarial"])
def test_stickers_give_balanced_true_questions(strategy: str) -> None:
    scenes = [make_scene("test", index) for index in range(40)]
    world = instances_document(scenes)
    lines = build_pope_questions(world, strategy=strategy, seed=3)
    assert lines == build_pope_questions(world, strategy=strategy, seed=3)
    assert lines != build_pope_questions(world, strategy=strategy, seed=4)
    assert Counter(x["label"] for x in lines) == {"yes": len(lines) / 2, "no": len(lines) / 2}
    assert [x["question_id"] for x in lines] == list(range(1, len(lines) + 1))
    present = {
        image["file_name"]: set(scene.categories)
        for image, scene in zip(world["images"], scenes, strict=True)
    }
    for x in lines:
        name = x["text"].removeprefix("Is there ").split(" ", 1)[1].removesuffix(" in the image?")
        assert (name in present[x["image"]]) == (x["label"] == "yes")
        assert ("Is there an " in x["text"]) == (name[0] in "aeiou")
    asked = Counter(x["image"] for x in lines)
    assert set(asked.values()) == {6}
    assert set(asked) == {name for name, found in present.items() if len(found) >= 3}


def test_stickers_ask_about_the_whole_split_and_draw_an_image_when_asked() -> None:
    items = sticker_pope_items("hard", "adversarial", 3)
    scenes = {f"stickers_hard_{n + 1:012d}.png": make_scene("hard", n) for n in range(500)}
    assert {item.image_id for item in items} <= set(scenes)
    for item in items:
        name = item.question.split(" ", 3)[3].removesuffix(" in the image?")
        shown = name in scenes[item.image_id].categories
        assert shown == (item.truth["label"] == "yes")
    drawn = items[0].image
    assert callable(drawn)
    expected = render(scenes[items[0].image_id]).image
    assert drawn().tobytes() == expected.tobytes()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="unknown strategy 'hard'"):
        build_pope_questions(toy(["abc"]), strategy="hard")
    with pytest.raises(ValueError, match="seed must be at least 0, not -1"):
        build_pope_questions(toy(["abc"]), strategy="random", seed=-1)
    with pytest.raises(ValueError, match="per_image"):
        build_pope_questions(toy(["abc"]), strategy="random", per_image=0)


def test_image_ids_may_be_any_text() -> None:
    world = toy(["abcd"] * 9)
    for image in world["images"]:
        image["id"] = f"img-{image['id']}"
    for annotation in world["annotations"]:
        annotation["image_id"] = f"img-{annotation['image_id']}"
    lines = build_pope_questions(world, strategy="random")
    assert len(lines) == 9 * 6
    assert len({tuple(negatives(lines, f"{n}.png")) for n in range(1, 10)}) > 1
