"""Views: the ways in which a method looks at a sample. The first is always the original."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import ClassVar, Final, Protocol, runtime_checkable

import torch
from PIL import Image, ImageStat
from torchvision.transforms import v2

from secondsight.edits import AttentionEdit, Steering
from secondsight.errors import ImageError, MethodError, nearest
from secondsight.relevance import relevant_part
from secondsight.sample import Sample
from secondsight.strips import WHOLE, by_strips


@runtime_checkable
class View(Protocol):
    """What one branch of a method sees of a sample.

    A view whose class says ``draws = False`` draws no random numbers; see `draws`.
    """

    @property
    def name(self) -> str:
        """A short name for tables and reports."""
        ...

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Make this view's sample from the original one.

        Args:
            sample: The original sample, its image opened.
            generator: The sample's own random numbers, on the CPU; every draw comes from it.

        Returns:
            The sample as this view sees it.
        """
        ...


def inside(view: View, generator: torch.Generator) -> Sample:
    """What a view changes inside the model, whatever the sample, as it notes it on samples.

    Views that change anything there have a class that says ``inside = True``.
    """
    stand_in = Sample(Image.new("RGB", (32, 32)), "?")
    return view.apply(stand_in, generator) if getattr(view, "inside", False) else stand_in


def draws(view: View) -> bool:
    """Whether a view draws random numbers, so that another seed may give another view."""
    return bool(getattr(view, "draws", True))


@dataclass(frozen=True)
class Original:
    """The sample as it is."""

    name: str = "original"
    draws: ClassVar[bool] = False

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the sample itself."""
        return sample


_KERNEL: Final = 13
_gaussian_blur = v2.GaussianBlur(kernel_size=_KERNEL, sigma=(1.5, 2.0))
_color_jitter = v2.ColorJitter(brightness=1, contrast=1, saturation=1, hue=0.5)


def _blur(image: Image.Image) -> Image.Image:
    """Gaussian blur; an image smaller than half the kernel is continued beyond its edges."""
    margin = _KERNEL // 2
    if min(image.size) > margin:
        drawn = _gaussian_blur.make_params([])
        return by_strips(image, lambda strip: _gaussian_blur.transform(strip, drawn), margin=margin)
    wider = _gaussian_blur(v2.functional.pad(image, [margin], padding_mode="edge"))
    return wider.crop((margin, margin, margin + image.width, margin + image.height))


def _jitter(image: Image.Image) -> Image.Image:
    """Colour jitter; a large image is changed in place, one property after the other."""
    drawn = _color_jitter.make_params([])
    if image.width * image.height <= WHOLE:
        jittered: Image.Image = _color_jitter.transform(image, drawn)
        return jittered
    changed = image.copy()
    for number in drawn["fn_idx"].tolist():
        name = ("brightness", "contrast", "saturation", "hue")[number]
        factor = drawn[f"{name}_factor"]
        if factor is None:
            continue
        if name == "contrast":  # away from the mean of the whole image
            mean = int(ImageStat.Stat(changed.convert("L")).mean[0] + 0.5)
            change = partial(_contrast, mean, factor)
        else:
            change = partial(getattr(v2.functional, f"adjust_{name}"), **{f"{name}_factor": factor})
        by_strips(changed, change, into=changed)
    return changed


def _contrast(mean: int, factor: float, strip: Image.Image) -> Image.Image:
    return Image.blend(Image.new("RGB", strip.size, (mean,) * 3), strip, factor)


TRANSFORMS: Final[dict[str, Callable[[Image.Image], Image.Image]]] = {
    "hflip": v2.RandomHorizontalFlip(p=1.0),
    "vflip": v2.RandomVerticalFlip(p=1.0),
    "rotate": v2.RandomRotation(180),
    "color": _jitter,
    "blur": _blur,
    "crop": v2.RandomResizedCrop(336),
}
"""RITUAL's transforms by name (arXiv 2405.17821), each applied to the image as it was given."""

_global_draw = threading.Lock()


def _drawn_and_applied(name: str, image: Image.Image, seed: int) -> Image.Image:
    """Apply a transform with numbers from a seed.

    torchvision draws from torch's global generator only, so that one is seeded, and put back.
    """
    with _global_draw, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return TRANSFORMS[name](image)


@dataclass(frozen=True)
class Transformed:
    """The image transformed before any preprocessing, as in RITUAL (arXiv 2405.17821).

    Several images are all transformed in the same way, with the same numbers.

    Attributes:
        transform: One of `TRANSFORMS`, or ``random`` to draw one of them uniformly per sample.
    """

    transform: str = "random"
    name: str = "transformed"
    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        known = ("random", *TRANSFORMS)
        if self.transform not in known:
            raise MethodError(
                f"No transform is called {self.transform!r}.{nearest(self.transform, known)}"
            )

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Draw the transform and its numbers, and apply it to the image.

        Raises:
            ImageError: The sample has no image.
        """
        images = needs_image(sample)
        name = self.transform
        if name == "random":
            names = list(TRANSFORMS)
            name = names[int(torch.randint(len(names), (), generator=generator))]
        seed = int(torch.randint(2**62, (), generator=generator))
        changed = [_drawn_and_applied(name, image, seed) for image in images]
        return replace(sample.showing(changed), choice=name)


def needs_image(sample: Sample) -> tuple[Image.Image, ...]:
    """The images of a sample that must have one."""
    if not sample.images:
        raise ImageError("This method looks at the image in another way, and none was given.")
    return sample.images


DIFFUSION_STEPS: Final = 1000


@cache
def diffusion_coefficients() -> tuple[torch.Tensor, torch.Tensor]:
    """VCD's diffusion schedule (arXiv 2311.16922 and its code).

    Returns:
        How much of the image and how much of the noise is left at each step: two float32
        tensors of shape (1000,).
    """
    ramp = torch.linspace(-6, 6, DIFFUSION_STEPS)
    betas = torch.sigmoid(ramp) * (0.5e-2 - 1e-5) + 1e-5
    kept = torch.cumprod(1 - betas, dim=0)
    return torch.sqrt(kept), torch.sqrt(1 - kept)


def add_diffusion_noise(
    pixels: torch.Tensor, step: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Drown normalised pixels in noise, as VCD does (arXiv 2311.16922, equation 2).

    Args:
        pixels: Normalised pixel values of any shape, floating point.
        step: The diffusion step, 0 to 999; later is noisier.
        generator: Random numbers, on the CPU whatever the device of `pixels`, so that the noise
            is the same everywhere; torch's global ones if left out.

    Returns:
        A tensor like `pixels`.
    """
    kept, noise = diffusion_coefficients()
    drawn = torch.randn(pixels.shape, dtype=torch.float32, generator=generator)
    noised = kept[step] * pixels.to("cpu", torch.float32) + noise[step] * drawn
    return noised.to(pixels.device, pixels.dtype)


@dataclass(frozen=True)
class Noised:
    """The normalised pixels drowned in diffusion noise, as in VCD (arXiv 2311.16922).

    Attributes:
        step: The diffusion step, 0 to 999.
    """

    step: int = 500
    name: str = "noised"
    draws: ClassVar[bool] = True

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Add the noise as a filter on the pixels; the draw is fixed here, once.

        Raises:
            ImageError: The sample has no image.
        """
        needs_image(sample)
        seed = int(torch.randint(2**62, (), generator=generator))
        noise = partial(_noise_from_seed, step=self.step, seed=seed)
        return replace(sample, pixel_filter=noise, choice=f"diffusion step {self.step}")


def _noise_from_seed(pixels: torch.Tensor, *, step: int, seed: int) -> torch.Tensor:
    return add_diffusion_noise(pixels, step, torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class NoImage:
    """The prompt without the image: the template stays, the slot goes (arXiv 2403.14003)."""

    name: str = "no image"
    draws: ClassVar[bool] = False

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Take the image away."""
        return replace(sample, image=None)


@dataclass(frozen=True)
class Edited:
    """The sample as it is, with an edit of the attention to it.

    Attributes:
        edit: The edit.
    """

    edit: AttentionEdit
    name: str = "edited attention"
    draws: ClassVar[bool] = False
    inside: ClassVar[bool] = True

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Attach the edit.

        Raises:
            ImageError: The sample has no image.
        """
        needs_image(sample)
        return replace(sample, attention=self.edit)


@dataclass(frozen=True)
class Steered:
    """The sample as it is, its hidden states turned towards what the image does to the prompt.

    Attributes:
        steering: How far.
    """

    steering: Steering
    name: str = "steered"
    draws: ClassVar[bool] = False
    inside: ClassVar[bool] = True

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Attach the steering.

        Raises:
            ImageError: The sample has no image.
        """
        needs_image(sample)
        return replace(sample, steering=self.steering)


@dataclass(frozen=True)
class Disturbed:
    """The same question in a disturbing role, as in instruction contrast (arXiv 2403.18715).

    Attributes:
        role: Who the model is told to be; see `Sample.role`.
    """

    role: str
    name: str = "disturbed"
    draws: ClassVar[bool] = False

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Tell the model the role."""
        return replace(sample, role=self.role, choice=self.role)


@dataclass(frozen=True)
class Relevant:
    """The image with all but what the question is about blackened, as in AGLA (arXiv 2406.12718).

    Attributes:
        relevance: What finds the parts that matter; see `secondsight.relevance`.
        matcher: The image-text matching model behind ``blip``.
    """

    relevance: str
    matcher: str
    name: str = "relevant part"
    draws: ClassVar[bool] = False

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Find the parts, and blacken the others.

        Raises:
            ImageError: The sample has no image.
            CheckpointError: The matching model cannot be loaded.
        """
        shown = [
            relevant_part(image, sample.question, self.relevance, self.matcher)
            for image in needs_image(sample)
        ]
        return sample.showing(shown)
