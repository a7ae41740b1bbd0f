"""Backgrounds, from plain to nearly a photograph; all drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .art import load_icon
from .catalog import ICONS

_Colour = tuple[int, int, int]


def background(kind: str, width: int, height: int, rng: Generator) -> Image.Image:
    """Draws a background.

    Args:
        kind: One of `scene.BACKGROUNDS`.
        width: Pixels.
        height: Pixels.
        rng: Where its randomness comes from.

    Returns:
        RGB image.
    """
    return _KINDS[kind](width, height, rng)


def _colour(rng: Generator) -> _Colour:
    """Any colour, pale and muted ones more often, as in images."""
    base = rng.integers(0, 256, 3)
    grey = int(rng.integers(40, 246))
    mix = float(rng.choice([0.2, 0.5, 0.75]))
    r, g, b = (int(v) for v in np.round(base * (1 - mix) + grey * mix))
    return r, g, b


def _blend(weight: NDArray[np.float64], first: _Colour, second: _Colour) -> Image.Image:
    """Mixes two colours by a weight per pixel in [0, 1], (height, width)."""
    a, b = np.array(first, dtype=np.float64), np.array(second, dtype=np.float64)
    mixed = a + np.clip(weight, 0.0, 1.0)[..., None] * (b - a)
    return Image.fromarray(np.round(mixed).astype(np.uint8), "RGB")


def _grid(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Horizontal and vertical position of each pixel as shares, broadcastable."""
    return (np.arange(width) / width)[None, :], (np.arange(height) / height)[:, None]


def _plain(width: int, height: int, rng: Generator) -> Image.Image:
    return Image.new("RGB", (width, height), _colour(rng))


def _gradient(width: int, height: int, rng: Generator) -> Image.Image:
    x, y = _grid(width, height)
    share = float(rng.random())
    weight = share * x + (1 - share) * y
    return _blend(weight, _colour(rng), _colour(rng))


def _radial(width: int, height: int, rng: Generator) -> Image.Image:
    x, y = _grid(width, height)
    cx, cy = rng.random(2)
    return _blend(np.sqrt((x - cx) ** 2 + (y - cy) ** 2), _colour(rng), _colour(rng))


def _stripes(width: int, height: int, rng: Generator) -> Image.Image:
    x, y = _grid(width, height)
    a, b = rng.uniform(-1, 1, 2)
    wave = (x * a + y * b) * float(rng.uniform(4, 24))
    return _blend((np.floor(wave) % 2).astype(np.float64), _colour(rng), _colour(rng))


def _checks(width: int, height: int, rng: Generator) -> Image.Image:
    x, y = _grid(width, height)
    n = float(rng.uniform(3, 14))
    return _blend((np.floor(x * n) + np.floor(y * n)) % 2.0, _colour(rng), _colour(rng))


def _dots(width: int, height: int, rng: Generator) -> Image.Image:
    x, y = _grid(width, height)
    n = float(rng.uniform(4, 14))
    radius = float(rng.uniform(0.15, 0.45))
    u, v = (x * n) % 1 - 0.5, (y * n * height / width) % 1 - 0.5
    weight = (u * u + v * v < radius * radius).astype(np.float64)
    return _blend(weight, _colour(rng), _colour(rng))


def _value_noise(width: int, height: int, rng: Generator, coarse: int = 2) -> Image.Image:
    """Several octaves of smooth noise, one after the other finer and weaker."""
    total = np.zeros((height, width, 3))
    strength, cells = 1.0, coarse
    fade = float(rng.uniform(0.4, 0.75))
    vivid = int(rng.integers(0, 6))
    for _ in range(5):
        # Light varies more than colour, as in images of real places.
        light = rng.integers(0, 256, (cells + 1, cells + 1, 1))
        tone = rng.integers(0, 256, (cells + 1, cells + 1, 3))
        small = light + (tone - light) * vivid // 8
        octave = Image.fromarray(small.astype(np.uint8), "RGB")
        octave = octave.resize((width, height), Image.Resampling.BICUBIC)
        total += strength * (np.asarray(octave) - 127.5)
        strength *= fade
        cells *= 2
    base = np.array(_colour(rng), dtype=np.float64)
    total = base + total * float(rng.uniform(0.25, 0.9))
    return Image.fromarray(np.clip(np.round(total), 0, 255).astype(np.uint8), "RGB")


def _clouds(width: int, height: int, rng: Generator) -> Image.Image:
    return _value_noise(width, height, rng, int(rng.integers(2, 6)))


def _noise(width: int, height: int, rng: Generator) -> Image.Image:
    base = np.array(_colour(rng))
    spread = int(rng.integers(10, 90))
    pixels = base + rng.integers(-spread, spread + 1, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")


def _split_image(upper: Image.Image, lower: Image.Image, line: int, rng: Generator) -> Image.Image:
    """Two images, one above the other, with an edge that is not quite straight."""
    width, height = upper.size
    tilt = int(rng.integers(-height // 12 - 1, height // 12 + 2))
    mask = Image.new("L", upper.size, 0)
    edge = [(0, line - tilt), (width // 3, line + tilt), (2 * width // 3, line), (width, line)]
    ImageDraw.Draw(mask).polygon([*edge, (width, height), (0, height)], fill=255)
    out = upper.copy()
    out.paste(lower, (0, 0), mask)
    return out


def _horizon(width: int, height: int, rng: Generator) -> Image.Image:
    sky = _gradient(width, height, rng) if rng.random() < 0.6 else _clouds(width, height, rng)
    ground = _clouds(width, height, rng) if rng.random() < 0.6 else _gradient(width, height, rng)
    return _split_image(sky, ground, round(height * float(rng.uniform(0.3, 0.7))), rng)


def _room(width: int, height: int, rng: Generator) -> Image.Image:
    walls = (_plain, _stripes, _gradient, _dots)
    floors = (_checks, _stripes, _plain, _noise)
    wall = walls[int(rng.integers(len(walls)))](width, height, rng)
    floor = floors[int(rng.integers(len(floors)))](width, height, rng)
    out = wall.copy()
    line = round(height * float(rng.uniform(0.5, 0.8)))
    out.paste(floor.crop((0, line, width, height)), (0, line))
    draw = ImageDraw.Draw(out)
    draw.line((0, line, width, line), fill=_colour(rng), width=max(1, height // 60))
    if rng.random() < 0.5:  # a window
        x, y = int(rng.integers(width // 2)), int(rng.integers(max(1, line // 2)))
        box = (x, y, x + width // 4, y + height // 4)
        draw.rectangle(box, fill=_colour(rng), outline=_colour(rng), width=max(1, height // 60))
    return out.filter(ImageFilter.GaussianBlur(height / 200))


def _collage(width: int, height: int, rng: Generator) -> Image.Image:
    """Huge stickers out of focus: shapes and colours of objects, but no object."""
    out = _gradient(width, height, rng)
    codes = list(ICONS)
    for _ in range(int(rng.integers(3, 7))):
        icon = load_icon(codes[int(rng.integers(len(codes)))])
        size = max(2, round(max(width, height) * float(rng.uniform(0.6, 1.4))))
        icon = icon.resize((24, 24)).resize((size, size), Image.Resampling.BILINEAR)
        x, y = int(rng.integers(-size // 2, width)), int(rng.integers(-size // 2, height))
        out.paste(icon, (x, y), icon)
    return out.filter(ImageFilter.GaussianBlur(max(width, height) / float(rng.uniform(14, 25))))


def _leaves(width: int, height: int, rng: Generator) -> Image.Image:
    """Dead leaves: shapes of all sizes over one another, the statistics of photographs."""
    out = _clouds(width, height, rng)
    draw = ImageDraw.Draw(out)
    palette = [_colour(rng) for _ in range(6)]
    side = max(width, height)
    for share in sorted(0.02 + 0.28 * rng.random(int(rng.integers(20, 60))) ** 3, reverse=True):
        w, h = side * share * rng.uniform(0.5, 1.5, 2)
        x, y = float(rng.uniform(-w, width)), float(rng.uniform(-h, height))
        box = (x, y, x + float(w), y + float(h))
        fill = palette[int(rng.integers(6))]
        if rng.random() < 0.5:
            draw.ellipse(box, fill=fill)
        else:
            draw.rectangle(box, fill=fill)
    texture = _value_noise(width, height, rng, 8)
    out = Image.blend(out, texture, float(rng.uniform(0.1, 0.4)))
    return out.filter(ImageFilter.GaussianBlur(side / float(rng.uniform(60, 400))))


_KINDS: Mapping[str, Callable[[int, int, Generator], Image.Image]] = {
    "plain": _plain,
    "gradient": _gradient,
    "radial": _radial,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "clouds": _clouds,
    "noise": _noise,
    "horizon": _horizon,
    "room": _room,
    "collage": _collage,
    "leaves": _leaves,
}
