"""RITUAL's transforms, VCD's noise, and draws that belong to a sample."""

from __future__ import annotations

import colorsys
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from secondsight import ImageError, MethodError, Sample
from secondsight.views import (
    TRANSFORMS,
    Disturbed,
    NoImage,
    Noised,
    Original,
    Transformed,
    View,
    add_diffusion_noise,
    diffusion_coefficients,
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def sample(picture: Callable[..., Image.Image]) -> Sample:
    return Sample(picture(5, (64, 48)), "What is it?")


def seen(view: View, sample: Sample, seed: int = 0) -> np.ndarray:
    return np.asarray(view.apply(sample, generator(seed)).image).astype(int)


def test_flips(sample: Sample) -> None:
    plain = np.asarray(sample.image)
    assert seen(Transformed("hflip"), sample).tolist() == plain[:, ::-1].tolist()
    assert seen(Transformed("vflip"), sample).tolist() == plain[::-1].tolist()
    assert seen(Original(), sample).tolist() == plain.tolist()


def test_rotation_is_by_up_to_180_degrees(sample: Sample) -> None:
    square = Sample(Image.new("RGB", (81, 81)), "?")
    square.image.paste((255, 255, 255), (40, 0, 41, 15))  # a hand pointing up
    angles = []
    for seed in range(40):
        rotated = seen(Transformed("rotate"), square, seed)[..., 0]
        y, x = np.nonzero(rotated > 128)
        angles.append(math.degrees(math.atan2(x.mean() - 40, 40 - y.mean())))
    assert min(angles) < -120
    assert max(angles) > 120
    assert seen(Transformed("rotate"), sample).shape == (48, 64, 3)


def test_blur_against_a_slow_convolution() -> None:
    point = Image.new("RGB", (31, 31))
    point.putpixel((15, 15), (255, 255, 255))
    for seed in range(4):
        blurred = seen(Transformed("blur"), Sample(point, "?"), seed)[..., 0]
        assert (blurred[:9] == 0).all(), "a kernel of 13 reaches 6 pixels"
        candidates = []
        for sigma in np.linspace(1.5, 2.0, 26):
            line = np.exp(-(np.arange(-6, 7) ** 2) / (2 * sigma**2))
            line /= line.sum()
            want = np.zeros((31, 31))
            want[9:22, 9:22] = 255 * np.outer(line, line)
            candidates.append(np.abs(want - blurred).max())
        assert min(candidates) <= 1.0


def test_blur_of_a_picture_smaller_than_its_kernel() -> None:
    flat = Sample(Image.new("RGB", (3, 40), (9, 90, 200)), "?")
    assert (seen(Transformed("blur"), flat) == [9, 90, 200]).all()


def test_colour_jitter_covers_its_ranges() -> None:
    grey = Sample(Image.new("RGB", (8, 8), (100, 100, 100)), "?")
    shades = [seen(Transformed("color"), grey, seed)[0, 0, 0] for seed in range(60)]
    assert min(shades) < 30  # brightness from 0 to 2
    assert max(shades) > 170
    red = Sample(Image.new("RGB", (8, 8), (200, 40, 40)), "?")
    hues = []
    for seed in range(60):
        colour = seen(Transformed("color"), red, seed)[0, 0]
        if colour.max() - colour.min() > 20:
            hues.append(colorsys.rgb_to_hsv(*colour)[0])
    assert max(hues) - min(hues) > 0.6  # hue by up to half the circle, either way


def test_crop(sample: Sample) -> None:
    assert seen(Transformed("crop"), sample).shape == (336, 336, 3)
    assert (
        seen(Transformed("crop"), sample, 1).tolist()
        != seen(Transformed("crop"), sample, 2).tolist()
    )


@pytest.mark.parametrize("name", ["random", *TRANSFORMS])
def test_draws_belong_to_the_generator_alone(sample: Sample, name: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = seen(Transformed(name), sample, 9)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert seen(Transformed(name), sample, 9).tolist() == first.tolist()


def test_random_is_uniform_and_says_what_it_drew(sample: Sample) -> None:
    small = Sample(sample.image.resize((8, 6)), "?")
    drawn = Counter(Transformed().apply(small, generator(seed)).choice for seed in range(300))
    assert set(drawn) == set(TRANSFORMS)
    assert min(drawn.values()) > 25
    assert max(drawn.values()) < 80
    for seed in range(6):
        out = Transformed().apply(small, generator(seed))
        if out.choice == "hflip":
            assert out.image.tobytes() == ImageOps.mirror(small.image).tobytes()


def test_the_original_sample_stays_as_it_is(sample: Sample) -> None:
    before = sample.image.tobytes()
    for name in TRANSFORMS:
        Transformed(name).apply(sample, generator(0))
    assert sample.image.tobytes() == before


def test_noise_against_the_formula() -> None:
    betas = 1 / (1 + np.exp(-np.linspace(-6, 6, 1000))) * (5e-3 - 1e-5) + 1e-5
    kept = np.cumprod(1 - betas)
    have = diffusion_coefficients()
    np.testing.assert_allclose(have[0], np.sqrt(kept), atol=1e-5)
    np.testing.assert_allclose(have[1], np.sqrt(1 - kept), atol=1e-5)
    pixels = torch.randn(1, 3, 4, 4, generator=generator(1))
    for step in (0, 500, 999):
        drawn = torch.randn(pixels.shape, generator=generator(2)).double().numpy()
        want = np.sqrt(kept[step]) * pixels.double().numpy() + np.sqrt(1 - kept[step]) * drawn
        noised = add_diffusion_noise(pixels, step, generator(2))
        np.testing.assert_allclose(noised, want, atol=1e-5)
    half = add_diffusion_noise(pixels.bfloat16(), 500, generator(2))
    assert half.dtype == torch.bfloat16


def test_noised_is_a_filter_with_its_draw_fixed(sample: Sample) -> None:
    noised = Noised(500).apply(sample, generator(8))
    assert noised.pixel_filter is not None
    pixels = torch.zeros(1, 3, 6, 6)
    first = noised.pixel_filter(pixels)
    assert torch.equal(first, noised.pixel_filter(pixels))
    other = Noised(500).apply(sample, generator(9))
    assert other.pixel_filter is not None
    assert not torch.equal(first, other.pixel_filter(pixels))
    assert noised.choice == "diffusion step 500"


def test_no_image_and_a_disturbing_role(sample: Sample) -> None:
    assert NoImage().apply(sample, generator(0)) == Sample(None, "What is it?")
    disturbed = Disturbed("You lie.").apply(sample, generator(0))
    assert (disturbed.role, disturbed.question) == ("You lie.", "What is it?")


@pytest.mark.parametrize("view", [Transformed("hflip"), Noised()])
def test_a_view_of_a_picture_needs_one(view: View) -> None:
    with pytest.raises(ImageError, match="none was given"):
        view.apply(Sample(None, "?"), generator(0))


def test_an_unknown_transform_is_named() -> None:
    with pytest.raises(MethodError, match="hflip"):
        Transformed("hflp")
