"""Opening images safely, and squaring them as LLaVA-1.5 does."""

from __future__ import annotations

import base64
import binascii
import ctypes
import io
import math
import os
import re
import stat
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from secondsight.errors import ImageError
from secondsight.sources import MAX_FILE, Images, ImageSource, Source, as_sources

__all__ = [
    "FORMATS",
    "MAX_FILE",
    "MAX_PIXELS",
    "WEB_FORMATS",
    "ImageSource",
    "Images",
    "Limits",
    "check_image_path",
    "data_url_bytes",
    "demo_image",
    "demo_picture",
    "open_image",
    "pad_to_square",
    "short_name",
]

MAX_PIXELS: Final = 100_000_000
"""The largest image that is decoded, in pixels."""

WEB_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What strangers may send: the formats whose decoders the whole world tries."""

FORMATS: Final = (
    *("BMP", "GIF", "JPEG", "PPM", "PNG"),  # those that Pillow knows at once
    *("WEBP", "TIFF", "AVIF", "HEIF", "JPEG2000", "MPO", "ICO", "TGA", "DIB", "ICNS", "QOI"),
    *("PSD", "PCX", "SGI", "DDS", "SUN", "XBM", "XPM", "IM", "MSP", "CUR", "DCX", "FLI", "BLP"),
    "SPIDER",
)
"""Pillow's names of the formats that are opened. Left out are those that start other programs
(EPS is run by Ghostscript) or that Pillow only recognises; HEIF is opened where a plug-in of
Pillow's is registered for it."""

_SUSPECT_PIXELS: Final = 25_000_000
_PIXELS_PER_BYTE: Final = 250
"""A larger image must come in a file that is not absurdly small: photographs have 20 pixels a
byte at the most, a single colour 1,000 and more."""

_SLOW_PIXELS: Final = 4_000_000
"""The largest image whose decoder is written in Python and takes seconds for a million pixels."""

_MOST_SCANS: Final = 500
"""How many times a JPEG file may paint its pixels; each takes as long as the whole image."""

_STRIP_PIXELS: Final = 1_000_000
"""How many pixels are converted at a time."""

_ICONS: Final = (b"\0\0\1\0", b"\0\0\2\0", b"icns")
"""How files of icons and cursors begin."""

_ICON_IMAGES: Final = re.compile(rb"(?:IHDR|ihdr)(.{8})", re.DOTALL)
"""Sizes of the PNG and JPEG 2000 images inside an icon, which only decoding would tell."""

_DATA_URL: Final = re.compile(r"data:(?P<kind>[^,]*),", re.IGNORECASE)
_OTHER_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_LONGEST_NAME: Final = 400

_OPENED: Final = "opened by secondsight"
"""What stands in an image's `info` where it needs no opening; its pixels are upright RGB."""

_lazy_images: Final = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """What is opened at the most.

    Attributes:
        max_pixels: The largest image, in pixels.
        max_bytes: The largest file, in bytes.
        formats: Pillow's names of the formats that are opened.
    """

    max_pixels: int = MAX_PIXELS
    max_bytes: int = MAX_FILE
    formats: tuple[str, ...] = FORMATS


_DEFAULT: Final = Limits()

_NOT_OPENED: Final = (
    (b"%!PS", "PostScript, a program that draws"),
    (b"\xc5\xd0\xd3\xc6", "PostScript, a program that draws"),
    (b"%PDF", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document, perhaps an SVG drawing"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)


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


def open_image(source: ImageSource, limits: Limits = _DEFAULT) -> Image.Image:
    """Open an image as 8-bit RGB, upright, its first frame, transparency over white.

    Args:
        source: A path, an http(s) or data URL, the bytes of an image file, a file object, a PIL
            image, an array or a tensor; see `ImageSource`.
        limits: What is opened at the most.

    Returns:
        A new RGB image; a PIL image given is left as it was.

    Raises:
        ImageError: No such file, no regular file, not an image, damaged, over the limits, or a URL
            that is unreachable, slow or over 20 MB.
    """
    sources = as_sources(source)
    if len(sources) != 1:
        raise ImageError(f"One image is opened at a time; {len(sources)} are given.")
    return _open(sources[0], limits)


def is_opened(source: Source) -> bool:
    """Whether something is an image as `open_image` returns it, which need not be copied."""
    return isinstance(source, Image.Image) and source.mode == "RGB" and _OPENED in source.info


def check_image_path(path: str | Path) -> None:
    """Refuse what is no image file by its path alone, without opening it.

    Raises:
        ImageError: There is no such file, or it is a folder, a pipe, a device, ...
    """
    name = short_name(str(path))
    with _as_file_errors(path, name):
        _refuse_irregular(_located(path).stat(), name)


def _open(source: Source, limits: Limits) -> Image.Image:
    if isinstance(source, Image.Image):
        return _given(source, limits)
    if isinstance(source, bytes):
        return _decode(source, f"The image of {len(source):,} bytes given", limits)
    if isinstance(source, str):
        if source[:5].lower() == "data:":
            return _decode(data_url_bytes(source, limits.max_bytes), _data_url_name(source), limits)
        if source[:8].lower().startswith(("http://", "https://")):
            from secondsight.fetching import fetch, shown

            return _decode(fetch(source), shown(source), limits)
    return _decode(_read(source, limits), short_name(str(source)), limits)


def short_name(name: str) -> str:
    """A file's name as messages show it."""
    return repr(name if len(name) <= _LONGEST_NAME else name[:200] + "..." + name[-197:])


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")[:_LONGEST_NAME]


def _data_url_name(url: str) -> str:
    return f"The data URL {url[:40]!r}..."


def data_url_bytes(url: str, max_bytes: int = MAX_FILE) -> bytes:
    """What a data URL holds (RFC 2397); base64 may lack its padding.

    Args:
        url: A text that begins with ``data:``.
        max_bytes: The most that it may hold, in bytes.

    Raises:
        ImageError: It is not of this form, or holds more.
    """
    name = _data_url_name(url)
    head = _DATA_URL.match(url)
    if head is None:
        raise ImageError(f"{name} has no data: 'data:image/png;base64,...' is the form.")
    in_base64 = head["kind"].rstrip().lower().endswith(";base64")
    if (len(url) - head.end()) * (3 / 4 if in_base64 else 1) > max_bytes * (1 if in_base64 else 3):
        raise ImageError(f"{name} holds more than {max_bytes / 2**20:g} MB.")
    try:
        data = unquote_to_bytes(url[head.end() :])
        if in_base64:
            text = b"".join(data.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
            data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"{name} cannot be decoded: {_reason(error)}.") from error
    if len(data) > max_bytes:
        raise ImageError(f"{name} holds more than {max_bytes / 2**20:g} MB.")
    return data


def _read(source: str | Path, limits: Limits) -> bytes:
    """A file's bytes; nothing but a regular file is opened, and no more than the limit read."""
    name = short_name(str(source))
    with _as_file_errors(source, name):
        path = _located(source)
        _refuse_irregular(path.stat(), name)
        # Not blocking, in case that it has become a pipe just now.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            _refuse_irregular(status, name)
            data = b""
            if status.st_size <= limits.max_bytes:
                data = file.read(min(max(status.st_size, 2**20), limits.max_bytes) + 1) or b""
            if max(status.st_size, len(data)) > limits.max_bytes:
                raise ImageError(
                    f"The image file {name} is larger than {limits.max_bytes / 2**20:g} MB, the "
                    "largest that is read. Shrink it first."
                )
            return data


@contextmanager
def _as_file_errors(source: str | Path, name: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(_absent(source)) from None
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody has no home; NUL; surrogates
        raise ImageError(f"The image file {name} cannot be read: {_reason(error)}.") from error


def _located(source: str | Path) -> Path:
    if isinstance(source, str) and source[:7].lower() == "file://":
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        return Path(url2pathname(urlsplit(source).path))
    if not str(source):
        raise ImageError("The image's path is empty.")
    path = Path(source)
    # A file may really be named ~old.png; only then is ~ not a home folder.
    return path if str(path)[:1] != "~" or path.exists() else path.expanduser()


def _absent(source: str | Path) -> str:
    name = str(source)
    if isinstance(source, str) and "://" in name[:30] and _OTHER_URL.match(name):
        return (
            f"The image {short_name(name)} cannot be fetched: only http, https and data URLs are."
        )
    return f"There is no image file {short_name(name)}. Check the path."


def _refuse_irregular(status: os.stat_result, name: str) -> None:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise ImageError(f"{name} is a folder, not an image. Name the files inside it.")
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    kind = next((kind for is_kind, kind in kinds if is_kind(mode)), "a device")
    raise ImageError(f"{name} is {kind}, not an image file. Read it, and hand over its bytes.")


def _decode(data: bytes, name: str, limits: Limits) -> Image.Image:
    if data[:4] in _ICONS:
        for found in _ICON_IMAGES.findall(data):  # Pillow decodes them while it opens the file
            _check_expansion(struct.unpack(">II", found), name, data)
    with _as_image_errors(name, limits, data), _opened(data, limits.formats) as image:
        _check_size(image, name, limits)
        _check_cost(image, name, data)
        _check_end(image, name, data)
        if image.format == "TIFF":
            _silence_libtiff()
        return _to_rgb(image, name, limits, ours=True)


def _opened(data: bytes, formats: Sequence[str]) -> ImageFile.ImageFile:
    """Let Pillow recognise it: by what it knows at once, then by its other decoders."""
    Image.preinit()
    known = [one for one in formats if one in Image.OPEN]
    try:
        return Image.open(io.BytesIO(data), formats=known)
    except UnidentifiedImageError:
        Image.init()
        others = [one for one in formats if one in Image.OPEN and one not in known]
        return Image.open(io.BytesIO(data), formats=others)


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing to standard error itself what becomes an `ImageError`."""
    try:
        libtiff = ctypes.CDLL(sys.modules["PIL._imaging"].__file__)
        libtiff.TIFFSetErrorHandler.argtypes = [ctypes.c_void_p]
        libtiff.TIFFSetErrorHandler.restype = ctypes.c_void_p
        libtiff.TIFFSetErrorHandler(None)
    except (OSError, AttributeError, KeyError):  # Pillow was built without it, or with it inside
        pass


def _given(image: Image.Image, limits: Limits) -> Image.Image:
    name = "The image given"
    with _as_image_errors(name, limits):
        if not isinstance(image, ImageFile.ImageFile):
            return _to_rgb(image, name, limits)
        if image.format == "EPS" and image.tile:
            raise ImageError(f"{name} is {_NOT_OPENED[0][1]}, and is not run. Convert it to PNG.")
        with _lazy_images:  # decoded while it is looked at: by one thread at a time
            frame = image.tell()
            try:
                return _to_rgb(image, name, limits)
            finally:
                if frame:
                    image.seek(frame)


@contextmanager
def _as_image_errors(name: str, limits: Limits, data: bytes | None = None) -> Iterator[None]:
    """Whatever a decoder raises, a damaged image is an `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that can be read{_kind(data or b'')}.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_many_pixels(name, None, limits.max_pixels)) from error
    except MemoryError as error:
        raise ImageError(f"{name} needs more memory than there is. Shrink it first.") from error
    except Exception as error:  # decoders raise IndexError, struct.error, RuntimeError, ...
        raise ImageError(f"{name} is damaged or cut off: {_reason(error)}.") from error


def _kind(data: bytes) -> str:
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, kind in _NOT_OPENED:
        if start.startswith(magic.lower()):
            return f": it is {kind}"
    return ": it is empty" if not data else ""


def _too_many_pixels(name: str, size: tuple[int, int] | None, most: int) -> str:
    what = f"{size[0]} x {size[1]} pixels" if size else "too many pixels"
    return f"{name} has {what}; at most {most:,} are decoded. Shrink it first."


def _check_size(image: Image.Image, name: str, limits: Limits) -> None:
    if image.width * image.height > limits.max_pixels:
        raise ImageError(_too_many_pixels(name, image.size, limits.max_pixels))
    if not image.width * image.height:
        raise ImageError(f"{name} has no pixels: its size is {image.width} x {image.height}.")


def _check_expansion(size: tuple[int, ...], name: str, data: bytes) -> None:
    if math.prod(size) > max(_SUSPECT_PIXELS, _PIXELS_PER_BYTE * len(data)):
        raise ImageError(
            f"{name} would unpack its {len(data):,} bytes into {size[0]} x {size[1]} pixels; more "
            f"than {_SUSPECT_PIXELS:,} are not decoded from so few. Shrink it first."
        )


def _check_cost(image: ImageFile.ImageFile, name: str, data: bytes) -> None:
    """Refuse what costs far more memory or time than its file's size suggests."""
    _check_expansion(image.size, name, data)
    pixels = image.width * image.height
    if pixels > _SLOW_PIXELS and any(tile[0] in Image.DECODERS for tile in image.tile):
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels; of a {image.format} file of its "
            f"kind, which is slow to decode, at most {_SLOW_PIXELS:,} are. Convert it to PNG."
        )
    if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MOST_SCANS:
        raise ImageError(f"{name} is damaged or cut off: it has more than {_MOST_SCANS} scans.")


def _check_end(image: ImageFile.ImageFile, name: str, data: bytes) -> None:
    """Refuse what is cut off where Pillow goes on as if it were whole."""
    grey_or_palette = data[1:4] == b"\x05\x01\x08" and data[65:66] == b"\x01"
    if image.format == "PCX" and grey_or_palette and data[-769:-768] != b"\x0c":
        raise ImageError(f"{name} is damaged or cut off: its palette is missing.")
    if image.format == "JPEG2000" and b"\xff\xd9" not in data:
        raise ImageError(f"{name} is damaged or cut off: its end is missing.")


_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation."""


def _to_rgb(image: Image.Image, name: str, limits: Limits, *, ours: bool = False) -> Image.Image:
    """Make it upright 8-bit RGB; pixels of an image that is ours alone are not copied."""
    _check_size(image, name, limits)
    if image.tell():
        image.seek(0)
    image.load()
    _check_size(image, name, limits)  # an icon may hold another size than it says
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    as_it_is = ours and image.mode == "RGB" and not image.has_transparency_data
    rgb = image._new(image.im) if as_it_is else _in_strips(image)
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info = {_OPENED: True}  # and no orientation, by which it would be turned once more
    return rgb


def _in_strips(image: Image.Image) -> Image.Image:
    """Convert a large image piece by piece, so that nothing but the result is as large."""
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    strips = [(0, top, width, min(height, top + rows)) for top in range(0, height, rows)]
    scale = _scale(image, strips)
    if len(strips) == 1:
        return _strip_to_rgb(image, scale)
    rgb = Image.new("RGB", image.size)
    for strip in strips:
        rgb.paste(_strip_to_rgb(image.crop(strip), scale), strip[:2])
    return rgb


def _strip_to_rgb(strip: Image.Image, scale: float | None) -> Image.Image:
    """A new image: 8-bit RGB, over white."""
    if scale is not None:
        scaled = np.nan_to_num(np.asarray(strip, dtype=np.float64)) * scale
        grey = scaled.round().clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if strip.has_transparency_data:
        rgba = strip.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return strip.convert("RGB")


def _scale(image: Image.Image, strips: Sequence[tuple[int, int, int, int]]) -> float | None:
    """What 16-bit and 32-bit integers and floats are multiplied by; Pillow would clip them."""
    if not image.mode.startswith(("I", "F")):
        return None
    if image.mode.startswith("I;"):
        return 255 / 65535
    pieces = (np.asarray(image.crop(strip)) for strip in strips)
    highest = max(float(np.nanmax(piece, initial=0)) for piece in pieces)
    if image.mode == "F":
        return 255.0 if highest <= 1 else 1.0
    return 255 / 65535 if highest > 255 else 1.0


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
    square = Image.new("RGB", (side, side), square_background(mean))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def square_background(mean: Sequence[float]) -> tuple[int, ...]:
    """The processor's mean colour, by its means per channel in [0, 1]."""
    return tuple(int(channel * 255) for channel in mean)
