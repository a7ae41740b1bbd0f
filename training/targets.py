"""What each patch of a picture shows, as training tells it, and where objects are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secondsight.benchmarks.stickers.captions import place_of
from secondsight.benchmarks.stickers.catalog import CATEGORIES, COLOURS
from secondsight.benchmarks.stickers.scene import Scene, SceneObject

CATEGORY = {c.name: i + 1 for i, c in enumerate(CATEGORIES)}
COLOUR = {name: i + 1 for i, name in enumerate(COLOURS)}
#: Where there is nothing to say.
IGNORE = -100
#: The largest number of equal objects that is told.
MOST = 5
#: Steps from one side of a picture to the other, in which centres are told.
FINE = 1000


@dataclass(frozen=True)
class Shape:
    """Sizes of the inputs.

    Attributes:
        image: Side of the square image in pixels.
        patch: Side of a patch in pixels.
        length: Tokens of a packed sequence, image included.
    """

    image: int = 192
    patch: int = 16
    length: int = 432

    @property
    def side(self) -> int:
        """Patches along one side."""
        return self.image // self.patch

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return self.side**2


def patch_targets(scene: Scene, owner: NDArray[np.uint8], shape: Shape) -> NDArray[np.int64]:
    """What each patch shows: (7, patches), -100 where the background has nothing to tell.

    Category, 0 for the background; colour, 0 for an object without one colour; and of the object
    that the patch shows: its thirds (column, line), how many of its kind the picture shows, less
    one, and its centre (x, y) in thousandths of the picture's width and height.
    """
    n, p = shape.side, shape.patch
    count = len(scene.objects)
    cells = owner.reshape(n, p, n, p).transpose(0, 2, 1, 3).reshape(n * n, p * p)
    flat = cells.astype(np.int64) + np.arange(n * n)[:, None] * (count + 1)
    cover = np.bincount(flat.ravel(), minlength=n * n * (count + 1)).reshape(n * n, count + 1)
    best = np.where(
        cover[:, 1:].max(axis=1, initial=0) >= 0.2 * p * p,
        cover[:, 1:].argmax(axis=1) + 1 if count else 0,
        0,
    )
    category = np.array([0] + [CATEGORY[o.category] for o in scene.objects])
    colour = np.array([IGNORE] + [COLOUR.get(o.colour or "", 0) for o in scene.objects])
    places = np.array([[IGNORE] * 5] + [_place(item, scene) for item in scene.objects])
    return np.stack([category[best], colour[best], *places[best].T])


def _place(item: SceneObject, scene: Scene) -> tuple[int, int, int, int, int]:
    """Thirds, how many there are less one, and the centre in thousandths."""
    count = len(scene.of(item.category))
    column, line = thirds(item)
    x, y = (round(FINE * part) for part in item.centre)
    return column, line, count - 1 if count <= MOST else IGNORE, x, y


def thirds(item: SceneObject) -> tuple[int, int]:
    """Where an object is: 0 left or top, 1 middle, 2 right or bottom, as `place_of` says it."""
    place = place_of(item)
    return (
        0 if "left" in place else 2 if "right" in place else 1,
        0 if "top" in place else 2 if "bottom" in place else 1,
    )


def sides(first: SceneObject, second: SceneObject) -> tuple[int, int]:
    """On which side of the second object the first is: 0 left (above), 1 right (below).

    -100 where that is not plain to see.
    """
    gaps = (a - b for a, b in zip(first.centre, second.centre, strict=True))
    horizontal, vertical = (int(gap > 0) if abs(gap) > 0.1 else IGNORE for gap in gaps)
    return horizontal, vertical
