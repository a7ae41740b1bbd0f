"""Large images in strips: the same pixels as Pillow and torchvision make of the whole."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from secondsight import Sample
from secondsight.images import open_image, pad_to_square, square_background
from secondsight.strips import WHOLE, by_strips, squared, strips
from secondsight.views import TRANSFORMS

SIZES = [(1201, 1003), (700, 1700), (5800, 300)]


def noise(size: tuple[int, int]) -> Image.Image:
    width, height = size
    draw = np.random.default_rng(width)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1000, 1000), *SIZES, (1_000_001, 1), (1, 1_000_001)])
def test_strips_cover_every_row_once(size: tuple[int, int]) -> None:
    found = list(strips(size))
    assert [row for top, bottom in found for row in range(top, bottom)] == list(range(size[1]))
    assert len(found) == 1 or size[0] * size[1] > WHOLE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_transforms_are_torchvisions(size: tuple[int, int], seed: int) -> None:
    image = noise(size)
    whole = {
        "blur": v2.GaussianBlur(kernel_size=13, sigma=(1.5, 2.0)),
        "color": v2.ColorJitter(brightness=1, contrast=1, saturation=1, hue=0.5),
    }
    for name, reference in whole.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            wanted = reference(image)
            torch.manual_seed(seed)
            assert TRANSFORMS[name](image) == wanted, name


@pytest.mark.parametrize("size", [*SIZES, (1300, 1300), (40, 3000)])
def test_a_square_is_pillows(size: tuple[int, int]) -> None:
    image, mean = noise(size), (0.48, 0.46, 0.41)
    wanted = pad_to_square(image, mean).resize((96, 96), Image.Resampling.BICUBIC)
    found = squared(image, 96, Image.Resampling.BICUBIC, square_background(mean))
    assert found == wanted


def test_a_change_in_place() -> None:
    image = noise((1100, 1000))
    wanted = image.point(lambda value: 255 - value)
    by_strips(image, lambda strip: strip.point(lambda value: 255 - value), into=image)
    assert image == wanted


def test_digests_are_those_of_all_pixels() -> None:
    image = noise(SIZES[0])
    wanted = hashlib.blake2b(repr(image.size).encode() + image.tobytes(), digest_size=16)
    assert Sample(image, "What?").digest == wanted.hexdigest()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(60, 30), (2500, 2000)])
def test_what_is_open_is_not_opened_again(
    kind: str, size: tuple[int, int], tmp_path: pytest.TempPathFactory
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = f"{tmp_path}/x"
    noise(size).save(path, kind, exif=exif)
    opened = open_image(path)
    assert opened.size == size[::-1]
    assert open_image(opened) == opened
    assert Sample(opened, "What?").opened().images[0] is opened
    painted = opened.convert("L")
    assert Sample(painted, "What?").opened().images[0].mode == "RGB"
