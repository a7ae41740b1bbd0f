"""The images of a report: as given, squared, as the model sees them, under the patch grid."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from secondsight.images import pad_to_square
from secondsight.trace.facts import ReportImage

_WIDEST: Final = 480
"""Longest side of an image in the report, in pixels."""


def shown_image(title: str, image: Image.Image) -> ReportImage:
    """An image for the report; its title's size is the true one, the file may be smaller."""
    return ReportImage(title, image.width, image.height, data_uri(_small(image)))


def shown_square(title: str, image: Image.Image, mean: Sequence[float]) -> ReportImage:
    """An image padded to a square, which is not made larger than it is shown."""
    side = max(image.size)
    return ReportImage(title, side, side, data_uri(pad_to_square(_small(image), mean)))


def _small(image: Image.Image) -> Image.Image:
    scale = _WIDEST / max(image.size)
    if scale >= 1:
        return image
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def data_uri(image: Image.Image, *, quality: int = 85) -> str:
    """An RGB image as a data URI (WebP: a fifth of PNG, and every browser of today reads it)."""
    return _webp(image.tobytes(), image.size, quality)


@lru_cache(maxsize=8)  # views show the same images again
def _webp(pixels: bytes, size: tuple[int, int], quality: int) -> str:
    buffer = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(buffer, "WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def with_grid(image: Image.Image, grid: tuple[int, int]) -> Image.Image:
    """An image, enlarged if it is small, under the grid of its patches."""
    rows, columns = grid
    cell = max(round(_WIDEST / max(rows, columns)), 1)
    gridded = image.resize((columns * cell, rows * cell), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(gridded, "RGBA")
    for column in range(1, columns):
        pen.line([(column * cell, 0), (column * cell, gridded.height)], fill=(255, 255, 255, 150))
    for row in range(1, rows):
        pen.line([(0, row * cell), (gridded.width, row * cell)], fill=(255, 255, 255, 150))
    return gridded


def heat(
    image: Image.Image, values: npt.NDArray[np.float32], grid: tuple[int, int], *, side: int
) -> Image.Image:
    """An image darkened where a map is low, so that what was attended to stays bright.

    Args:
        image: What the model saw.
        values: The map, one value per patch, not negative.
        grid: Rows and columns of patches.
        side: Width of the result.
    """
    rows, columns = grid
    peak = float(values.max(initial=0.0))
    levels = (
        values.reshape(rows, columns) / peak if peak > 0 else np.zeros((rows, columns))
    ) ** 0.5
    mask = Image.fromarray((levels * 255).astype(np.uint8))
    size = (side, max(round(side * rows / columns), 1))
    base = image.resize(size, Image.Resampling.BICUBIC)
    grey = Image.blend(base.convert("L").convert("RGB"), Image.new("RGB", size, "#16202c"), 0.72)
    glow = Image.blend(base, Image.new("RGB", size, "#ffb000"), 0.35)
    return Image.composite(glow, grey, mask.resize(size, Image.Resampling.NEAREST))
