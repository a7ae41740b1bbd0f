"""MME-style questions: two per scene and task, one to be affirmed and one to be denied."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Literal, TypeAlias

from .captions import NUMBERS, common_colour
from .catalog import BY_NAME, COLOURS, with_article
from .contexts import CONTEXTS
from .scene import Scene

Task: TypeAlias = Literal["existence", "count", "position", "color"]
Pair: TypeAlias = tuple[str, str]

TASKS: tuple[Task, ...] = ("existence", "count", "position", "color")
SUFFIX = " Please answer yes or no."

#: How far apart two centres must be, as a share of the image, for one side to be plain.
CLEARLY = 0.12


def mme_pair(scene: Scene, task: str) -> Pair | None:
    """The two questions of a task about a scene: the first one's answer is yes, the second's no.

    Args:
        scene: The scene.
        task: "existence", "count", "position" or "color".

    Returns:
        The questions, each ending in MME's " Please answer yes or no."; None where the scene does
        not lend itself to the task.
    """
    rng = Random(f"mme/{task}/{scene.split}/{scene.index}")
    makers = {"existence": _existence, "count": _count, "position": _position, "color": _colour}
    pair = makers[task](scene, rng) if scene.objects else None
    return pair and (pair[0] + SUFFIX, pair[1] + SUFFIX)


def _existence(scene: Scene, rng: Random) -> Pair:
    shown = rng.choice(scene.categories)
    usual = {n for pool in CONTEXTS.values() if shown in pool for n in pool}
    absent = set(BY_NAME) - set(scene.categories)
    missing = rng.choice(sorted(usual & absent or absent))
    ask = "Is there {} in this image?"
    return ask.format(with_article(shown)), ask.format(with_article(missing))


def _count(scene: Scene, rng: Random) -> Pair:
    several = [n for n in scene.categories if len(scene.of(n)) > 1]
    name = rng.choice(several or scene.categories)
    number = len(scene.of(name))
    wrong = number + (1 if number == 1 else rng.choice((-1, 1)))
    first, second = (_how_many(name, n) for n in (number, wrong))
    return first, second


def _how_many(name: str, number: int) -> str:
    if number == 1:
        return f"Is there only one {name} in the image?"
    return f"Are there {NUMBERS[number]} {BY_NAME[name].plural} in the image?"


def _position(scene: Scene, rng: Random) -> Pair | None:
    singles = [scene.of(n)[0] for n in scene.categories if len(scene.of(n)) == 1]
    pairs = [
        (a, b)
        for a in singles
        for b in singles
        if a.category != b.category and abs(a.centre[0] - b.centre[0]) > CLEARLY
    ]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    right, wrong = ("left", "right") if a.centre[0] < b.centre[0] else ("right", "left")
    ask = f"Is the {a.category} on the {{}} side of the {b.category}?"
    return ask.format(right), ask.format(wrong)


def _colour(scene: Scene, rng: Random) -> Pair | None:
    known: Mapping[str, str | None] = {n: common_colour(scene.of(n)) for n in scene.categories}
    options = [(name, colour) for name, colour in known.items() if colour]
    if not options:
        return None
    name, colour = rng.choice(options)
    other = rng.choice([c for c in COLOURS if c != colour])
    ask = "Is there {} in the image?"
    first, second = (ask.format(with_article(f"{c} {name}")) for c in (colour, other))
    return first, second
