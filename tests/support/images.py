"""Images that tests look at."""

from __future__ import annotations

import numpy as np
from PIL import Image


def make_image(number: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    """An image with structure at every scale, another one for every number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    grain = rng.integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(image).astype(int) + grain).clip(0, 255).astype(np.uint8))
