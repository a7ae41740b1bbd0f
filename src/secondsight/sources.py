"""What may be given as an image, and how each of it becomes one of four plain kinds.

A generator is gone through once, a file object is read once, an array is copied once: what comes
out can be opened any number of times, and nothing that was handed over is lost on the way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Union, runtime_checkable

import numpy as np
from PIL import Image

from secondsight.errors import ImageError

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Readable(Protocol):
    """A file object: opened in binary mode, an ``io.BytesIO``, a response's body, ..."""

    def read(self, size: int, /) -> Any:
        """At most so many bytes."""
        ...


Source = str | Path | bytes | Image.Image
"""An image as `as_sources` gives it: a path, a URL or data URL, a file's bytes, or a PIL image."""

ImageSource = Union[
    str,
    "os.PathLike[str]",
    bytes,
    bytearray,
    memoryview,
    Readable,
    Image.Image,
    "np.ndarray[Any, Any]",
    "torch.Tensor",
]
"""An image: a path, a URL (http, https or data), the bytes of a file, a file object, a PIL image,
an array of shape (height, width), (height, width, 1, 3 or 4), or a tensor of shape (height,
width), (1, 3 or 4, height, width)."""

Images = ImageSource | Iterable[ImageSource] | None
"""What a question is about: an image, several in the order in which they are shown, or none."""

MAX_FILE: Final = 512 * 2**20
"""The largest image file that is read, in bytes."""

MAX_IMAGES: Final = 1000
"""How many images a question may have."""

_CHANNELS: Final = (1, 3, 4)


def as_sources(images: Images) -> tuple[Source, ...]:
    """One image, several or none, as a tuple of things that can be opened more than once.

    Args:
        images: An image, an iterable of images, or None.

    Returns:
        Paths, URLs, bytes and PIL images; file objects are read, arrays and tensors copied.

    Raises:
        ImageError: Anything else, an empty iterable included.
    """
    if images is None:
        return ()
    one = _as_source(images)
    if one is not None:
        return (one,)
    if isinstance(images, Mapping | Set) or not isinstance(images, Iterable):
        raise ImageError(_refusal(images))
    several: list[Source] = []
    for place, image in enumerate(islice(images, MAX_IMAGES + 1), start=1):
        source = _as_source(image)
        if source is None:
            raise ImageError(f"Image {place} of those given: {_refusal(image)}")
        several.append(source)
    if not several:
        raise ImageError(
            f"The images given are an empty {_kind(images)}. "
            "Give None for a question without an image."
        )
    if len(several) > MAX_IMAGES:
        raise ImageError(f"More than {MAX_IMAGES:,} images are given for one question.")
    return tuple(several)


def as_images(images: Images) -> Source | tuple[Source, ...] | None:
    """What `as_sources` gives as it is kept: one image by itself, several as a tuple, or None."""
    sources = as_sources(images)
    return sources[0] if len(sources) == 1 else sources or None


def _as_source(image: Any) -> Source | None:
    """An image in its plain kind; None for what is none."""
    if isinstance(image, str | Path | bytes | Image.Image):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, os.PathLike):
        return Path(os.fsdecode(image))
    if isinstance(image, np.ndarray):
        return _from_array(image)
    torch = sys.modules.get("torch")  # a tensor cannot come from a torch that is not imported
    if torch is not None and isinstance(image, torch.Tensor):
        return _from_tensor(image)
    return read_bytes(image) if _can_be_read(image) else None


def _can_be_read(thing: Any) -> bool:
    try:
        return not isinstance(thing, type) and callable(getattr(thing, "read", None))
    except Exception:  # whatever a foreign object does when it is asked
        return False


def _kind(thing: object) -> str:
    kind = thing if isinstance(thing, type) else type(thing)
    module = kind.__module__
    name = kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    return f"class {name}" if isinstance(thing, type) else name


def _refusal(thing: object) -> str:
    return (
        f"An image cannot be of type {_kind(thing)}. Give a path, a URL, a file's bytes, a file "
        "object, a PIL image, an array or a tensor."
    )


def read_bytes(file: Readable, most: int = MAX_FILE) -> bytes:
    """Read a file object from its beginning, where it has one, or from where it stands.

    Args:
        file: Opened in binary mode.
        most: The most that is read, in bytes.

    Raises:
        ImageError: It was opened as text, cannot be read, or holds more.
    """
    what = f"The file object given ({_kind(file)})"
    try:
        if (seekable := getattr(file, "seekable", None)) is not None and seekable():
            file.seek(0)  # type: ignore[attr-defined]
        data = b"".join(_chunks(file, most + 1, what))
    except ImageError:
        raise
    except Exception as error:  # a file object may be anybody's: a response, an archive's member
        raise ImageError(f"{what} cannot be read: {error or type(error).__name__}.") from error
    if len(data) > most:
        raise ImageError(f"{what} holds more than {most / 2**20:g} MB. Shrink the image first.")
    return data


def _chunks(file: Readable, most: int, what: str) -> Iterator[bytes]:
    while most > 0:
        data = file.read(min(most, 2**20))
        if isinstance(data, str):
            raise ImageError(
                f"{what} was opened as text. Open it in binary mode: open(path, 'rb')."
            )
        if not isinstance(data, bytes | bytearray | memoryview):
            raise ImageError(f"{what} gives {_kind(data)} and not bytes when it is read.")
        if not data:
            return
        yield bytes(data)
        most -= len(data)


def _from_tensor(tensor: torch.Tensor) -> Image.Image:
    shape = tuple(tensor.shape)
    if tensor.ndim == 3 and shape[0] not in _CHANNELS:
        raise ImageError(
            f"A tensor of shape {shape} is not an image: (height, width) or (1, 3 or 4 channels, "
            "height, width) is; call tensor.permute(2, 0, 1) where the channels come last."
        )
    if tensor.ndim not in (2, 3):
        raise ImageError(_dimensions("A tensor", shape))
    values = tensor.detach().cpu()
    if values.is_complex() or values.is_quantized:
        raise ImageError(f"A tensor of {tensor.dtype} is not an image.")
    if values.is_floating_point():
        values = values.double()  # numpy has no bfloat16
    array = values.numpy()
    return _from_array(array.transpose(1, 2, 0) if array.ndim == 3 else array)


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    shape = array.shape
    if array.ndim == 3 and shape[2] not in _CHANNELS:
        raise ImageError(
            f"An array of shape {shape} is not an image: (height, width) or (height, width, 1, 3 "
            "or 4 channels) is; call array.transpose(1, 2, 0) where the channels come first."
        )
    if array.ndim not in (2, 3):
        raise ImageError(_dimensions("An array", shape))
    if 0 in shape:
        raise ImageError(f"An array of shape {shape} has no pixels.")
    values = _to_bytes(array)
    return Image.fromarray(values[..., 0] if array.ndim == 3 and shape[2] == 1 else values).copy()


def _dimensions(what: str, shape: tuple[int, ...]) -> str:
    return (
        f"{what} of shape {shape} is not an image, which has two or three dimensions; give several "
        "images as a list."
    )


def _to_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pixel values as 8 bits, by the type's own range; what lies outside is refused."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return np.where(array, np.uint8(255), np.uint8(0))
    if array.dtype == np.uint16:
        return (array / 257).round().astype(np.uint8)
    kind = array.dtype.kind
    if kind not in "iuf":
        raise ImageError(f"An array of {array.dtype} is not an image: numbers are wanted.")
    low, high = array.min(), array.max()
    most = 1 if kind == "f" else 255
    if not (low >= 0 and high <= most):  # NaN is in no range
        advice = (
            "Divide by 255 where they go to 255, or undo the normalisation."
            if kind == "f"
            else "Convert the array to uint8."
        )
        raise ImageError(
            f"An image's values of type {array.dtype} go from 0 to {most}; those of the array "
            f"given go from {low:g} to {high:g}. {advice}"
        )
    return ((array * 255.0).round() if kind == "f" else array).astype(np.uint8)
