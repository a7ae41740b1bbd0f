"""Opening images safely, and squaring them as LLaVA-1.5 does."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from secondsight.errors import ImageError

ImageSource = str | Path | bytes | Image.Image
"""An image: a path, a URL (http or https), the bytes of a file, or a PIL image."""

Images = ImageSource | Sequence[ImageSource] | None
"""What a question is about: an image, several in the order in which they are shown, or none."""

MAX_PIXELS: Final = 100_000_000
"""The largest image that is decoded, in pixels."""

MAX_DOWNLOAD: Final = 20 * 1024 * 1024
"""The largest image that is downloaded, in bytes."""

DOWNLOAD_TIMEOUT: Final = 20.0
"""How long a server may stay silent, in seconds."""


def demo_image() -> Path:
    """The image that ships with secondsight, of the world that the bundled model knows.

    Raises:
        ImageError: This installation lacks it.
    """
    folder = Path(str(resources.files("secondsight") / "data"))
    for name in ("demo.png", "demo.jpg"):
        if (folder / name).is_file():
            return folder / name
    raise ImageError("This installation lacks the demo image. Name an image of your own.")


demo_picture = demo_image
"""The first stage's name of `demo_image`, which scripts in use call."""


def open_image(source: ImageSource) -> Image.Image:
    """Open an image as 8-bit RGB, upright, its first frame, transparency over white.

    Args:
        source: A path, an http(s) URL, the bytes of an image file, or a PIL image.

    Returns:
        A new RGB image; a PIL image given is left as it was.

    Raises:
        ImageError: No such file, not an image, truncated, over 100 million pixels, or a URL that
            is unreachable or over 20 MB.
    """
    if isinstance(source, Image.Image):
        return _checked(source, "the image given")
    if isinstance(source, bytes):
        return _decode(source, f"the {len(source)} bytes given")
    name = str(source)
    if name.startswith(("http://", "https://")):
        return _decode(_download(name), name)
    try:
        path = Path(source).expanduser()
        if not path.exists():
            raise ImageError(f"There is no image file {_short(name)}. Check the path.")
        if path.is_dir():
            raise ImageError(f"{name!r} is a folder, not an image. Name the files inside it.")
        return _decode(path.read_bytes(), name)
    except (OSError, RuntimeError) as error:  # RuntimeError: ~nobody has no home folder
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"The image file {_short(name)} cannot be read: {reason}.") from error


def _short(name: str) -> str:
    return repr(name if len(name) <= 200 else name[:100] + "..." + name[-97:])


def _download(url: str) -> bytes:
    too_large = f"{url} is larger than {MAX_DOWNLOAD // 2**20} MB. Download and shrink it first."
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=DOWNLOAD_TIMEOUT) as response:
            response.raise_for_status()
            if int(response.headers.get("content-length") or 0) > MAX_DOWNLOAD:
                raise ImageError(too_large)
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > MAX_DOWNLOAD:
                    raise ImageError(too_large)
            return bytes(data)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise ImageError(f"{url} cannot be fetched: the server answered {status}.") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{url} cannot be fetched: {error or type(error).__name__}.") from error


def _decode(data: bytes, name: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _checked(image, name)
    except UnidentifiedImageError as error:
        raise ImageError(f"{name!r} is not an image that can be read.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_many_pixels(name, None)) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name!r} is damaged or cut off: {error}.") from error


def _checked(image: Image.Image, name: str) -> Image.Image:
    frame = image.tell()
    try:
        return _to_rgb(image, name)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name!r} is damaged or cut off: {error}.") from error
    finally:
        if frame:
            image.seek(frame)


def _too_many_pixels(name: str, size: tuple[int, int] | None) -> str:
    what = f"{size[0]} x {size[1]} pixels" if size else "too many pixels"
    return f"{name!r} has {what}; at most {MAX_PIXELS:,} are decoded. Shrink it first."


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_many_pixels(name, image.size))
    image.seek(0)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        upright = _to_8_bit(upright)
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    rgb = upright.convert("RGB")
    return rgb.copy() if rgb is image else rgb


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit integer, 32-bit integer and float pixels; PIL's own conversion clips them."""
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        full = 1.0 if np.nanmax(values, initial=0.0) <= 1.0 else 255.0
    else:
        full = 65535.0 if image.mode != "I" or values.max(initial=0) > 255 else 255.0
    scaled = np.nan_to_num(values) * (255.0 / full)
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8), mode="L")


def pad_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """Centre an image on a square of the processor's mean colour (LLaVA-1.5's ``pad``).

    Args:
        image: An RGB image of any shape.
        mean: The processor's mean per channel, in [0, 1].

    Returns:
        A square RGB image with the longer side's length; a square one is returned as it is.
    """
    if image.width == image.height:
        return image
    side = max(image.size)
    background = tuple(int(channel * 255) for channel in mean)
    square = Image.new("RGB", (side, side), background)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
