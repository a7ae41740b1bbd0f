"""Saying what a scene shows: reference captions in several natural sentences."""

from __future__ import annotations

from random import Random

from .catalog import BY_NAME, with_article
from .scene import Scene, SceneObject

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_OPENINGS = (
    "The image shows {}.",
    "The picture shows {}.",
    "This image shows {}.",
    "There {be} {} in the image.",
    "There {be} {} in this picture.",
    "The scene contains {}.",
)


def place_of(item: SceneObject) -> str:
    """Where an object is: "on the left", "at the top right", "in the middle", ..."""
    x, y = item.centre
    column = "left" if x < 0.37 else "right" if x > 0.63 else ""
    row = "top" if y < 0.37 else "bottom" if y > 0.63 else ""
    if row:
        return f"at the {row} {column}".rstrip()
    return f"on the {column}" if column else "in the middle"


def common_colour(items: tuple[SceneObject, ...]) -> str | None:
    """The colour that all of the objects have, or None."""
    colours = {item.colour for item in items}
    return colours.pop() if len(colours) == 1 else None


def listing(parts: list[str]) -> str:
    """Joins phrases as in "a cat, a dog and two cars"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def phrase(items: tuple[SceneObject, ...], coloured: bool) -> str:
    """The noun phrase of one category's objects: "a red car", "two dogs"."""
    category = BY_NAME[items[0].category]
    colour = common_colour(items) if coloured else None
    name = category.name if len(items) == 1 else category.plural
    full = f"{colour} {name}" if colour else name
    if len(items) == 1:
        return f"a pair of {full}" if category.name in ("skis", "scissors") else with_article(full)
    return f"{NUMBERS[len(items)]} {full}"


def groups(scene: Scene) -> list[tuple[SceneObject, ...]]:
    """The objects by category, in COCO's order: people, vehicles, animals, ..., things."""
    return [scene.of(name) for name in scene.categories]


def brief(scene: Scene, rng: Random, colour_chance: float = 0.4) -> str:
    """One sentence that names everything."""
    parts = groups(scene)
    be = "is" if len(parts[0]) == 1 else "are"
    text = listing([phrase(g, rng.random() < colour_chance) for g in parts])
    return rng.choice(_OPENINGS).format(text, be=be)


def full(scene: Scene, rng: Random) -> str:
    """Several sentences: what and how many, where, which colour, what kind of place."""
    sentences = [brief(scene, rng)]
    parts = groups(scene)
    for group in parts[: rng.choice((2, 3, 3))]:
        sentences.append(_detail(group, rng))
    singles = [g[0] for g in parts if len(g) == 1]
    if len(singles) > 1 and rng.random() < 0.4:
        relation = relation_of(singles[0], singles[1])
        if relation:
            sentences.append(f"The {singles[0].category} is {relation} the {singles[1].category}.")
    if scene.context and rng.random() < 0.6:
        sentences.append(f"It looks like {with_article(scene.context)}.")
    return " ".join(sentences)


def relation_of(first: SceneObject, second: SceneObject) -> str | None:
    """Says "to the left of", "above", ... where it is plain to see, else None."""
    dx = first.centre[0] - second.centre[0]
    dy = first.centre[1] - second.centre[1]
    if abs(dx) < 0.2 and abs(dy) < 0.2:
        return None
    if abs(dx) >= abs(dy):
        return "to the left of" if dx < 0 else "to the right of"
    return "above" if dy < 0 else "below"


def _detail(group: tuple[SceneObject, ...], rng: Random) -> str:
    """Where one category's objects are, and at times their colour."""
    name, plural = BY_NAME[group[0].category].name, BY_NAME[group[0].category].plural
    places = [place_of(item) for item in group]
    colour = common_colour(group)
    middle = f"{colour} and {{}}" if colour and rng.random() < 0.5 else "{}"
    if len(group) == 1:
        be = "are" if name in ("skis", "scissors") else "is"
        return f"The {name} {be} {middle.format(places[0])}."
    if len(set(places)) == 1:
        who = "Both" if len(group) == 2 else f"The {NUMBERS[len(group)]}"
        return f"{who} {plural} are {middle.format(places[0])}."
    if len(group) == 2:
        return f"One {name} is {places[0]} and the other is {places[1]}."
    return f"The {NUMBERS[len(group)]} {plural} are in different places."


def reference_captions(scene: Scene, count: int = 5) -> list[str]:
    """Captions of a scene, the first ones in full, the last two brief.

    Args:
        scene: The scene.
        count: How many.

    Returns:
        The captions: the same for the same scene, always.
    """
    captions = []
    for number in range(count):
        rng = Random(f"caption/{scene.split}/{scene.index}/{number}")
        captions.append(full(scene, rng) if number < max(1, count - 2) else brief(scene, rng))
    return captions
