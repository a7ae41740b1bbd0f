"""Drawing a scene, and finding which pixels belong to which object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from .art import sticker
from .backgrounds import background
from .scene import Scene, rng_for


@dataclass(frozen=True)
class Rendering:
    """A drawn scene.

    Attributes:
        image: RGB image.
        owner: (height, width) uint8: 0 for background, k for the scene's object number k - 1.
    """

    image: Image.Image
    owner: NDArray[np.uint8]

    def boxes(self) -> list[tuple[int, int, int, int]]:
        """Box (x, y, width, height) of the visible pixels of each object, in the scene's order.

        An object without visible pixels would get (0, 0, 0, 0).
        """
        boxes = []
        for number in range(1, int(self.owner.max(initial=0)) + 1):
            mask = Image.fromarray((self.owner == number).astype(np.uint8), "L")
            left, top, right, bottom = mask.getbbox() or (0, 0, 0, 0)
            boxes.append((left, top, right - left, bottom - top))
        return boxes


def render(scene: Scene, long_side: int | None = None) -> Rendering:
    """Draws a scene.

    Args:
        scene: The scene.
        long_side: Longer side in pixels if it shall not be the scene's own.

    Returns:
        Image and owners; the same bytes whenever it is drawn.
    """
    factor = 1.0 if long_side is None else long_side / max(scene.width, scene.height)
    width, height = round(scene.width * factor), round(scene.height * factor)
    short = min(width, height)
    rng = rng_for("background", scene.seed)
    image = background(scene.background, width, height, rng)
    owner = Image.new("L", (width, height), 0)
    for number, item in enumerate(scene.objects, start=1):
        sprite = sticker(item.icon, item.tint, item.size * short, item.angle, item.flipped)
        x = round(item.centre[0] * width - sprite.width / 2)
        y = round(item.centre[1] * height - sprite.height / 2)
        alpha = sprite.getchannel("A")
        image.paste(sprite, (x, y), alpha)
        owner.paste(number, (x, y), alpha.point(_SOLID))
    return Rendering(_degrade(image, scene, short), np.asarray(owner))


_SOLID = [255 * (alpha > 96) for alpha in range(256)]


def _degrade(image: Image.Image, scene: Scene, short: int) -> Image.Image:
    """Contrast, brightness, blur and noise, as the scene says."""
    if scene.contrast < 1:
        image = ImageEnhance.Contrast(image).enhance(scene.contrast)
    if scene.brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(scene.brightness)
    if scene.blur * short > 0.2:
        image = image.filter(ImageFilter.GaussianBlur(scene.blur * short))
    if scene.noise >= 1:
        rng = rng_for("noise", scene.seed)
        shape = (image.height, image.width, 3)
        # A sum of three uniform integers is nearly normal, and exact on every platform.
        grain = rng.integers(-1000, 1001, (3, *shape)).sum(axis=0) * (scene.noise / 1000)
        pixels = np.asarray(image) + np.round(grain)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")
    return image
