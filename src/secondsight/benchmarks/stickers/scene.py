"""Scenes: what is in an image and where, drawn from (split, index, knobs) and nothing else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.random import PCG64, Generator

from .art import aspect_of
from .catalog import BY_NAME, CATEGORIES, COLOURS
from .contexts import CONTEXTS, PARTNERS

Split: TypeAlias = Literal["train", "val", "test", "conflict", "hard"]

#: Scenes per split; `train` has no end.
SPLIT_SIZES: Mapping[str, int | None] = {
    "train": None,
    "val": 500,
    "test": 500,
    "conflict": 500,
    "hard": 500,
}

BACKGROUNDS: tuple[str, ...] = (
    "plain",
    "gradient",
    "radial",
    "stripes",
    "checks",
    "dots",
    "clouds",
    "noise",
    "horizon",
    "room",
    "collage",
    "leaves",
)

_NAMES = tuple(c.name for c in CATEGORIES)


@dataclass(frozen=True)
class SceneKnobs:
    """What may be turned in the world.

    Attributes:
        objects: Fewest and most objects of a scene.
        repetition: Chance that an object comes several times.
        scale: Smallest and largest long side of an object, as a share of the image's short side.
        overlap: Largest share of an object's box that later objects may cover.
        blur: Largest blur radius, as a share of the image's short side.
        noise: Largest standard deviation of pixel noise, of 255.
        contrast: Lowest contrast (1 leaves the image as it is).
        rotation: Largest rotation of an object in degrees.
        tint: Chance that a tintable object is painted.
        cooccurrence: Strength of the habit of appearing together: 0 draws objects evenly.
        conflict: Breaks the habit: usual partners apart, and strangers together.
        aspects: Width over height, one is drawn.
        long_side: The image's longer side in pixels, one is drawn.
    """

    objects: tuple[int, int] = (1, 7)
    repetition: float = 0.25
    scale: tuple[float, float] = (0.18, 0.45)
    overlap: float = 0.15
    blur: float = 0.0
    noise: float = 0.0
    contrast: float = 0.8
    rotation: float = 12.0
    tint: float = 0.5
    cooccurrence: float = 0.85
    conflict: bool = False
    aspects: tuple[float, ...] = (1.0, 1.0, 4 / 3, 3 / 4, 3 / 2, 16 / 9)
    long_side: tuple[int, ...] = (320, 384, 448)


#: The knobs that each split uses unless told otherwise. `train` mixes easy and hard scenes,
#: because an image from elsewhere will have other sizes and other flaws.
SPLIT_KNOBS: Mapping[str, SceneKnobs] = {
    "train": SceneKnobs(objects=(1, 8)),
    "val": SceneKnobs(),
    "test": SceneKnobs(),
    "conflict": SceneKnobs(conflict=True),
    "hard": SceneKnobs(
        objects=(3, 8), scale=(0.09, 0.2), overlap=0.4, blur=0.008, noise=28.0, contrast=0.5
    ),
}


@dataclass(frozen=True)
class SceneObject:
    """One object.

    Attributes:
        category: COCO's name.
        icon: Code of its image.
        centre: Horizontal and vertical centre, as shares of width and height.
        size: Long side before rotation, as a share of the image's short side.
        angle: Rotation in degrees, counter-clockwise.
        flipped: Whether it is mirrored.
        tint: The colour that it is painted in, or None.
    """

    category: str
    icon: str
    centre: tuple[float, float]
    size: float
    angle: float
    flipped: bool
    tint: str | None

    @property
    def colour(self) -> str | None:
        """The colour that one word can say: the paint, else the image's own colour."""
        if self.tint is not None:
            return self.tint
        return next(i.colour for i in BY_NAME[self.category].icons if i.code == self.icon)


@dataclass(frozen=True)
class Scene:
    """An image's complete description; `render.render` draws it.

    Attributes:
        split: Split.
        index: Place in the split, from 0.
        width: Width in pixels.
        height: Height in pixels.
        context: The place that it is, or None for a random heap.
        background: Kind of background.
        seed: Seed of the background and of the noise.
        blur: Blur radius as a share of the short side.
        noise: Standard deviation of the pixel noise, of 255.
        contrast: Contrast, 1 for none.
        brightness: Brightness, 1 for none.
        objects: The objects in the order in which they are painted.
    """

    split: str
    index: int
    width: int
    height: int
    context: str | None
    background: str
    seed: int
    blur: float
    noise: float
    contrast: float
    brightness: float
    objects: tuple[SceneObject, ...] = field(default=())

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories present, each once, in COCO's order."""
        present = {o.category for o in self.objects}
        return tuple(name for name in _NAMES if name in present)

    def of(self, category: str) -> tuple[SceneObject, ...]:
        """The objects of a category."""
        return tuple(o for o in self.objects if o.category == category)


def rng_for(*key: object) -> Generator:
    """A generator that depends on the key's text alone, on any platform."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return Generator(PCG64(int.from_bytes(digest[:16], "little")))


def make_scene(split: str, index: int, knobs: SceneKnobs | None = None) -> Scene:
    """Draws the scene number `index` of a split.

    Args:
        split: "train", "val", "test", "conflict" or "hard".
        index: From 0; below the split's size.
        knobs: Other knobs than the split's own.

    Returns:
        The scene: the same for the same arguments, always.
    """
    if split not in SPLIT_SIZES:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(SPLIT_SIZES)}")
    size = SPLIT_SIZES[split]
    if index < 0 or (size is not None and index >= size):
        raise IndexError(f"split {split!r} has {size} scenes; {index} is not one of them")
    rng = rng_for("stickers", split, index)
    if knobs is None:
        knobs = SPLIT_KNOBS[split]
        if split == "train" and rng.random() < 0.3:
            knobs = _rough(rng)
    return _draw(split, index, knobs, rng)


def _rough(rng: Generator) -> SceneKnobs:
    """Training knobs beyond the other splits: larger, smaller, blurred, noisy, turned."""
    low = float(rng.choice([0.08, 0.1, 0.14, 0.3]))
    return SceneKnobs(
        objects=(1, 8),
        scale=(low, float(rng.choice([0.2, 0.35, 0.6, 0.85])) if low < 0.2 else 0.85),
        overlap=float(rng.choice([0.0, 0.2, 0.4])),
        blur=float(rng.choice([0.0, 0.006, 0.01])),
        noise=float(rng.choice([0.0, 15.0, 30.0])),
        contrast=0.5,
        rotation=float(rng.choice([0.0, 15.0, 30.0, 60.0])),
        cooccurrence=float(rng.choice([0.0, 0.85])),
        aspects=(1.0, 0.5, 2.0, 0.7, 1.3, 1.78),
    )


def _draw(split: str, index: int, knobs: SceneKnobs, rng: Generator) -> Scene:
    aspect = float(rng.choice(knobs.aspects))
    long_side = int(rng.choice(knobs.long_side))
    width = long_side if aspect >= 1 else round(long_side * aspect)
    height = long_side if aspect < 1 else round(long_side / aspect)
    count = int(rng.integers(knobs.objects[0], knobs.objects[1] + 1))
    if knobs.conflict:
        context, names = None, _strangers(rng, count)
    else:
        context, names = _companions(rng, count, knobs.cooccurrence)
    names = _repeat(rng, names, count, knobs.repetition)
    return Scene(
        split=split,
        index=index,
        width=width,
        height=height,
        context=context,
        background=str(rng.choice(BACKGROUNDS)),
        seed=int(rng.integers(2**31)),
        blur=float(rng.uniform(0, knobs.blur)),
        noise=float(rng.uniform(0, knobs.noise)),
        contrast=float(rng.uniform(knobs.contrast, 1.0)),
        brightness=float(rng.uniform(0.85, 1.1)),
        objects=_place(rng, names, knobs, width, height),
    )


def _companions(rng: Generator, count: int, strength: float) -> tuple[str | None, list[str]]:
    """Objects that belong together, with a stranger now and then."""
    if rng.random() >= strength:
        return None, [str(n) for n in rng.choice(_NAMES, size=count, replace=False)]
    context = str(rng.choice(list(CONTEXTS)))
    pool = CONTEXTS[context]
    weights = 1.0 / (2.0 + np.arange(len(pool)))
    order = [str(n) for n in rng.choice(pool, len(pool), replace=False, p=weights / weights.sum())]
    names: list[str] = []
    while len(names) < count:
        name = order.pop(0) if order and rng.random() < 0.9 else str(rng.choice(_NAMES))
        if name in names:
            continue
        names.append(name)
        partner = PARTNERS.get(name)
        if partner and partner not in names and len(names) < count and rng.random() < 0.75:
            names.append(partner)
    return context, names


def _strangers(rng: Generator, count: int) -> list[str]:
    """Objects of many places, never beside the partner that training shows them with."""
    firsts = [str(n) for n in rng.permutation(list(PARTNERS))]
    others = [str(n) for n in rng.permutation(_NAMES)]
    names: list[str] = []
    for name in firsts[: (count + 1) // 2] + others:
        usual = {PARTNERS.get(n) for n in names} | {n for n, p in PARTNERS.items() if p in names}
        shared = any(name in pool and any(n in pool for n in names) for pool in CONTEXTS.values())
        if name not in names and name not in usual and not shared:
            names.append(name)
        if len(names) == count:
            break
    return names


def _repeat(rng: Generator, names: list[str], count: int, chance: float) -> list[str]:
    """Repeats some objects, and drops others so that the number of objects stays `count`."""
    result: list[str] = []
    for name in names:
        copies = 1
        if rng.random() < chance:
            copies = int(rng.choice([2, 3, 4, 5], p=[0.5, 0.3, 0.15, 0.05]))
        result += [name] * min(copies, max(count, 2) - len(result))
        if len(result) >= count:
            break
    return result


def _place(
    rng: Generator, names: list[str], knobs: SceneKnobs, width: int, height: int
) -> tuple[SceneObject, ...]:
    """Finds a place for each object; one that does not fit anywhere is left out."""
    short = min(width, height)
    placed: list[tuple[float, float, float, float]] = []
    covered: list[float] = []
    objects: list[SceneObject] = []
    painted = {name: str(rng.choice(list(COLOURS))) for name in dict.fromkeys(names)}
    low, high = (math.log(v) for v in knobs.scale)
    for name in names:
        icons = BY_NAME[name].icons
        icon = icons[int(rng.integers(len(icons)))]
        tint: str | None = None
        if icon.tintable and rng.random() < knobs.tint:
            tint = painted[name] if rng.random() < 0.7 else str(rng.choice(list(COLOURS)))
        angle = float(rng.uniform(-knobs.rotation, knobs.rotation))
        flipped = bool(rng.random() < 0.5)
        for attempt in range(24):
            # Later attempts try smaller sizes, so that crowded scenes keep their objects.
            size = math.exp(float(rng.uniform(low, high - (high - low) * attempt / 24)))
            w, h = _extent(icon.code, size * short, angle)
            if w > width or h > height:
                continue
            x = float(rng.uniform(0, width - w))
            y = float(rng.uniform(0, height - h))
            shares = [_covered((x, y, w, h), box) for box in placed]
            back = _covered_by_any(placed, (x, y, w, h))
            if back > 2 * knobs.overlap + 0.1 or any(
                old + new > knobs.overlap
                for old, new in zip(covered, shares, strict=True)
                if new > 0
            ):
                continue
            covered = [old + new for old, new in zip(covered, shares, strict=True)] + [0.0]
            placed.append((x, y, w, h))
            centre = ((x + w / 2) / width, (y + h / 2) / height)
            objects.append(SceneObject(name, icon.code, centre, size, angle, flipped, tint))
            break
    return tuple(objects)


def _extent(icon: str, long_side: float, angle: float) -> tuple[float, float]:
    """Width and height in pixels of the box around the rotated image."""
    aspect = aspect_of(icon)
    w, h = (long_side, long_side / aspect) if aspect >= 1 else (long_side * aspect, long_side)
    c, s = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return w * c + h * s, w * s + h * c


def _covered(
    top: tuple[float, float, float, float], box: tuple[float, float, float, float]
) -> float:
    """The share of `box` (x, y, w, h) that lies under `top`."""
    w = min(top[0] + top[2], box[0] + box[2]) - max(top[0], box[0])
    h = min(top[1] + top[3], box[1] + box[3]) - max(top[1], box[1])
    return max(0.0, w) * max(0.0, h) / (box[2] * box[3])


def _covered_by_any(
    placed: list[tuple[float, float, float, float]], box: tuple[float, float, float, float]
) -> float:
    """How much of the new box hides older ones, summed: keeps heaps from growing."""
    return sum(_covered(old, box) for old in placed)
