"""What stays of a text is English, and says nothing that was doubted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondsight.checking.dropping import drop
from secondsight.objects.lexicon import coco_lexicon
from secondsight.objects.mentions import find_mentions

HORSE = "The image shows a horse, a cat and a dog."
TWO = "A dog and a cat are sitting on a bench."


def without(text: str, *objects: str) -> str:
    found = find_mentions(text, coco_lexicon())
    return drop(text, [(one.start, one.end) for one in found if one.object in objects])


@pytest.mark.parametrize(
    ("text", "objects", "left"),
    [
        (HORSE, ["horse"], "The image shows a cat and a dog."),
        (HORSE, ["cat"], "The image shows a horse and a dog."),
        (HORSE, ["dog"], "The image shows a horse and a cat."),
        (HORSE, ["horse", "cat"], "The image shows a dog."),
        (HORSE, ["horse", "cat", "dog"], ""),
        ("The image shows a horse.", ["horse"], ""),
        (TWO, ["dog"], "A cat is sitting on a bench."),
        (TWO, ["bench"], "A dog and a cat are sitting."),
        (TWO, ["dog", "cat"], ""),
        ("A dog, a bird and a cat are on a bench.", ["cat"], "A dog and a bird are on a bench."),
        ("There are two dogs, a car, and a bus.", ["bus"], "There are two dogs and a car."),
        ("There are a dog and a car.", ["car"], "There is a dog."),
        ("A man rides a horse near a fence with a dog.", ["dog"],
         "A man rides a horse near a fence."),
        ("A cat is here. The dog is brown. It is big. The cat sleeps.", ["dog"],
         "A cat is here. The cat sleeps."),
    ],
)  # fmt: skip
def test_what_stays(text: str, objects: list[str], left: str) -> None:
    assert without(text, *objects) == left


@pytest.mark.parametrize(
    ("text", "word", "left"),
    [
        ("A red cup.", "red", "A cup."),
        ("There is an orange cat.", "orange", "There is a cat."),
        ("There is a red apple and a dog.", "red", "There is an apple and a dog."),
        ("There are two red cups.", "two", "There are some red cups."),
        ("There are red cups.", "red", "There are cups."),
        ("The three bears are here.", "three", "The bears are here."),
        ("All of the 3 bears are here.", "3", "All of the bears are here."),
        ("Two dogs play.", "Two", "Some dogs play."),
        ("A dog is here. The cup is red.", "red", "A dog is here."),
    ],
)
def test_numbers_and_colours_go_alone(text: str, word: str, left: str) -> None:
    start = text.index(word)
    assert drop(text, [], [(start, start + len(word))]) == left


def test_a_colour_and_a_name_behind_it() -> None:
    text = "There is an orange cat, a red cup and a dog."
    names = [(one.start, one.end) for one in find_mentions(text, coco_lexicon())]
    colours = [(text.index(word), text.index(word) + len(word)) for word in ("orange", "red")]
    assert drop(text, [names[1]], colours) == "There is a cat and a dog."
    assert drop(text, [names[0]], colours) == "There is a cup and a dog."


SENTENCES = [
    HORSE,
    TWO,
    "The dog is red.",
    "It is big.",
    "A man with an umbrella walks on a bench.",
]


@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5), st.randoms())
def test_sentences_depend_on_those_before_alone(texts: list[str], draws) -> None:
    """So a part can be shown before the rest is known."""
    text = " ".join(texts)
    spans = [(one.start, one.end) for one in find_mentions(text, coco_lexicon())]
    doubted = [one for one in spans if draws.random() < 0.4]
    whole = drop(text, doubted)
    ends = [len(" ".join(texts[: count + 1])) for count in range(len(texts))]
    for end in ends:
        assert whole.startswith(drop(text[:end], [one for one in doubted if one[1] <= end]))
    assert drop(text, []) == text
