"""Large images changed a strip of rows at a time, so that nothing but the result is as large.

What is done to every pixel, or to its neighbourhood, comes out the same in strips; what is said
of a whole image up to `WHOLE` pixels is done to the whole, as it always was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from PIL import Image

WHOLE: Final = 1_000_000
"""Images of so many pixels, and smaller ones, need no strips."""

_STRIP: Final = 100_000
"""How many pixels a strip has, or one row."""


def strips(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The first row of each strip of an image, and the row after its last."""
    width, height = size
    rows = max(1, height if width * height <= WHOLE else _STRIP // width)
    return ((top, min(height, top + rows)) for top in range(0, height, rows))


def by_strips(
    image: Image.Image,
    change: Callable[[Image.Image], Image.Image],
    *,
    margin: int = 0,
    into: Image.Image | None = None,
) -> Image.Image:
    """Change an image whose pixels depend on those near them only.

    Args:
        image: An image.
        change: Returns an image of the size and mode of the one that it is given.
        margin: How many rows above and below a row it depends on.
        into: Where to put the result; it may be the image itself where there is no margin.

    Returns:
        What `change` would return for the whole.
    """
    width, height = image.size
    if into is None and width * height <= WHOLE:
        return change(image)
    changed = into or Image.new(image.mode, image.size)
    for top, bottom in strips(image.size):
        upper, lower = max(0, top - margin), min(height, bottom + margin)
        strip = change(image.crop((0, upper, width, lower)))
        if margin:
            strip = strip.crop((0, top - upper, width, bottom - upper))
        changed.paste(strip, (0, top))
    return changed


def squared(
    image: Image.Image,
    side: int,
    resample: Image.Resampling,
    background: tuple[int, ...],
) -> Image.Image:
    """Centre an image on a square and resize that, without ever making the large square.

    Pillow resizes a square along its rows first and then along its columns, and rounds between.

    Args:
        image: An RGB image.
        side: The side of the result, in pixels.
        resample: Pillow's filter.
        background: The square's colour.
    """
    edge = max(image.size)
    left, above = (edge - image.width) // 2, (edge - image.height) // 2
    narrow = Image.new("RGB", (side, edge))
    for top, bottom in strips((edge, edge)):
        strip = Image.new("RGB", (edge, bottom - top), background)
        first, last = max(top - above, 0), min(bottom - above, image.height)
        if first < last:
            strip.paste(image.crop((0, first, image.width, last)), (left, first + above - top))
        narrow.paste(strip.resize((side, bottom - top), resample), (0, top))
    return narrow.resize((side, side), resample)
