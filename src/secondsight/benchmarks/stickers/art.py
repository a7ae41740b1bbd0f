"""The stickers themselves: loading, painting, turning."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources

import numpy as np
from PIL import Image

from .catalog import COLOURS, ICONS


@cache
def load_icon(code: str) -> Image.Image:
    """The sticker as shipped: RGBA, trimmed, long side at most 128 pixels."""
    if code not in ICONS:
        raise KeyError(f"no sticker {code!r}")
    with resources.files(__package__).joinpath("art", f"{code}.webp").open("rb") as file:
        return Image.open(file).convert("RGBA")


def aspect_of(code: str) -> float:
    """Width over height of a sticker."""
    icon = load_icon(code)
    return icon.width / icon.height


@lru_cache(maxsize=1024)
def painted_icon(code: str, tint: str | None) -> Image.Image:
    """The sticker in another colour.

    Pixels of the sticker's main hue take the new colour and keep their shading; where the sticker
    has no main hue (grey, white), all of it does, except the darkest and the lightest parts.

    Args:
        code: The sticker.
        tint: A name of `catalog.COLOURS`, or None for the sticker as it is.

    Returns:
        RGBA image.
    """
    icon = load_icon(code)
    if tint is None:
        return icon
    rgba = np.asarray(icon).astype(np.float64)
    rgb, solid = rgba[..., :3], rgba[..., 3] > 128
    hsv = np.asarray(icon.convert("RGB").convert("HSV")).astype(np.int64)
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    vivid = solid & (saturation > 70) & (value > 40)
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    if vivid.sum() > 0.2 * solid.sum():
        main = int(np.bincount(hue[vivid], minlength=256).argmax())
        distance = np.abs((hue - main + 128) % 256 - 128)
        weight = np.where(vivid, np.clip((42 - distance) / 12.0, 0.0, 1.0), 0.0)
    else:
        weight = np.where(solid & (luma > 70), 1.0, 0.0)
    chosen = weight > 0.5
    middle = float(luma[chosen].mean()) if chosen.any() else 128.0
    shade = (luma / max(middle, 1.0))[..., None]
    colour = np.array(COLOURS[tint], dtype=np.float64)
    dark = colour * np.minimum(shade, 1.0)
    light = 0.55 * (255.0 - colour) * np.clip(shade - 1.0, 0.0, 1.0)
    mixed = rgb + weight[..., None] * (dark + light - rgb)
    out = np.concatenate([np.clip(np.round(mixed), 0, 255), rgba[..., 3:]], axis=2)
    return Image.fromarray(out.astype(np.uint8), "RGBA")


def sticker(
    code: str, tint: str | None, long_side: float, angle: float, flipped: bool
) -> Image.Image:
    """The sticker painted, mirrored, resized and turned, ready to be pasted.

    Args:
        code: The sticker.
        tint: Its paint, or None.
        long_side: Its long side in pixels before turning.
        angle: Degrees counter-clockwise.
        flipped: Whether to mirror it.

    Returns:
        RGBA image.
    """
    icon = painted_icon(code, tint)
    factor = long_side / max(icon.size)
    size = (max(1, round(icon.width * factor)), max(1, round(icon.height * factor)))
    icon = icon.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if flipped:
        icon = icon.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if angle:
        icon = icon.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    return icon
