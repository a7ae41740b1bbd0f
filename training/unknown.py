"""Pictures without stickers, made up: what the model must say that it does not know.

No photograph is used: shapes, light, texture and text are drawn so that they share a
photograph's statistics (occlusion, shading, 1/f texture) without showing any sticker.
"""

from __future__ import annotations

import math
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from secondsight.benchmarks.stickers.backgrounds import background
from secondsight.benchmarks.stickers.render import render
from secondsight.benchmarks.stickers.scene import BACKGROUNDS, SceneKnobs, make_scene, rng_for

#: What pictures of melted stickers are made of: a few large ones.
LARGE = SceneKnobs(objects=(2, 5), scale=(0.4, 0.9), overlap=0.5, cooccurrence=0.0)


def unknown_picture(key: str, long_side: int) -> Image.Image:
    """Draws a picture without any sticker; the same for the same key."""
    rng = Random(f"unknown/{key}")
    aspect = rng.choice((1.0, 1.0, 0.75, 1.33, 1.5, 0.67))
    width = long_side if aspect >= 1 else round(long_side * aspect)
    height = round(long_side / aspect) if aspect >= 1 else long_side
    base = background(rng.choice(BACKGROUNDS), width, height, rng_for("unknown", key))
    kind = rng.random()
    if kind < 0.2:
        picture = base
    elif kind < 0.5:
        picture = _melted(width, height, rng)
    elif kind < 0.8:
        picture = _things(base, key, rng)
    elif kind < 0.9:
        picture = _drawing(base, rng)
    else:
        picture = _writing(base, rng)
    if rng.random() < 0.25:
        picture = picture.convert("L").convert("RGB")
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.0)))
    return picture


def _melted(width: int, height: int, rng: Random) -> Image.Image:
    """Stickers so warped and enlarged that their light and colours are left, and no object."""
    scene = make_scene("train", rng.randrange(10**9), LARGE)
    source = render(scene, 2 * max(width, height)).image
    part = rng.uniform(0.25, 0.5)  # of the scene, to fill the picture
    w, h = part * source.width, part * source.height
    x0, y0 = rng.uniform(0, source.width - w), rng.uniform(0, source.height - h)
    n = rng.choice((3, 4, 6))
    swing = rng.uniform(0.8, 1.3)  # of a mesh cell
    corner = {
        (i, j): (
            x0 + w * (i + swing * rng.uniform(-1, 1)) / n,
            y0 + h * (j + swing * rng.uniform(-1, 1)) / n,
        )
        for i in range(n + 1)
        for j in range(n + 1)
    }
    mesh = []
    for i in range(n):
        for j in range(n):
            box = (width * i // n, height * j // n, width * (i + 1) // n, height * (j + 1) // n)
            quad = [corner[i, j], corner[i, j + 1], corner[i + 1, j + 1], corner[i + 1, j]]
            mesh.append((box, tuple(v for point in quad for v in point)))
    return source.transform((width, height), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _blob(size: tuple[int, int], rng: Random) -> Image.Image:
    """A mask: a random closed outline with smooth bumps or corners."""
    mask = Image.new("L", size, 0)
    cx, cy = rng.uniform(0, size[0]), rng.uniform(0, size[1])
    radius = max(size) * rng.choice((0.06, 0.12, 0.2, 0.35)) * rng.uniform(0.6, 1.4)
    stretch, turn = rng.uniform(0.3, 1.0), rng.uniform(0, math.pi)
    bumps = [(rng.uniform(0, 0.35), rng.uniform(0, 7)) for _ in range(4)]
    points = []
    sides = rng.choice((3, 4, 5, 40, 40, 40))
    for step in range(sides):
        t = 2 * math.pi * step / sides
        r = radius * (1 + sum(a * math.sin((k + 2) * t + p) for k, (a, p) in enumerate(bumps)))
        x, y = r * math.cos(t), r * stretch * math.sin(t)
        points.append(
            (
                cx + x * math.cos(turn) - y * math.sin(turn),
                cy + x * math.sin(turn) + y * math.cos(turn),
            )
        )
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return mask.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.0)))


def _things(base: Image.Image, key: str, rng: Random) -> Image.Image:
    """Shaded and textured bodies with shadows, one over the other."""
    out = base.copy()
    kinds = ("plain", "gradient", "radial", "stripes", "clouds", "clouds", "noise", "leaves")
    for number in range(rng.choice((1, 2, 4, 7, 12))):
        mask = _blob(out.size, rng)
        skin = background(rng.choice(kinds), *out.size, rng_for("skin", key, number))
        light = background("radial", *out.size, rng_for("light", key, number)).convert("L")
        skin = Image.blend(skin, light.convert("RGB"), rng.uniform(0, 0.6))
        if rng.random() < 0.5:
            shadow = mask.filter(ImageFilter.GaussianBlur(4)).point(lambda v: v // 2)
            out.paste((0, 0, 0), (rng.randint(0, 6), rng.randint(0, 6)), shadow)
        out.paste(skin, (0, 0), mask)
        if rng.random() < 0.3:
            for _ in range(rng.randint(1, 4)):  # spots, windows, eyes
                out.paste(_any_colour(rng), (0, 0), _spot(mask, rng))
    return out


def _spot(body: Image.Image, rng: Random) -> Image.Image:
    """A small ellipse inside a body's mask."""
    left, top, right, bottom = body.getbbox() or (0, 0, 2, 2)
    mask = Image.new("L", body.size, 0)
    w, h = max(2, (right - left) // 7), max(2, (bottom - top) // 7)
    x, y = rng.randint(left, right), rng.randint(top, bottom)
    ImageDraw.Draw(mask).ellipse((x, y, x + w, y + h), fill=255)
    return Image.fromarray(np.minimum(np.asarray(mask), np.asarray(body)))


def _any_colour(rng: Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _drawing(base: Image.Image, rng: Random) -> Image.Image:
    """Lines and arcs, as in a diagram or a sketch."""
    out = base.copy()
    draw = ImageDraw.Draw(out)
    colour = _any_colour(rng)
    for _ in range(rng.randint(3, 40)):
        x0, x1 = sorted(rng.uniform(0, out.width) for _ in range(2))
        y0, y1 = sorted(rng.uniform(0, out.height) for _ in range(2))
        thick = rng.randint(1, 3)
        kind = rng.random()
        if kind < 0.5:
            draw.line((x0, y0, x1, y1) if rng.random() < 0.5 else (x0, y1, x1, y0), colour, thick)
        elif kind < 0.75:
            draw.rectangle((x0, y0, x1, y1), outline=colour, width=thick)
        else:
            draw.ellipse((x0, y0, x1, y1), outline=colour, width=thick)
    return out


def _writing(base: Image.Image, rng: Random) -> Image.Image:
    """Lines of text, as on a scanned page."""
    out = base.copy() if rng.random() < 0.5 else Image.new("RGB", base.size, (245, 243, 238))
    draw = ImageDraw.Draw(out)
    colour = tuple(v // 3 for v in _any_colour(rng))
    step = rng.randint(9, 22)
    for y in range(rng.randint(2, 20), out.height, step):
        text = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz      ,.") for _ in range(60))
        draw.text((rng.randint(2, 12), y), text, fill=colour, font_size=max(8, step - 4))
    return out
