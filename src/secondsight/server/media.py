"""Images from clients: data URLs, and addresses where the server allows their domains.

A client's string never reaches a path. Sizes are read from an image's header before its pixels
take memory, and only the decoders of common formats are open to it.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, UnidentifiedImageError

from secondsight.errors import ImageError
from secondsight.images import WEB_FORMATS, open_image
from secondsight.images import Limits as Allowed
from secondsight.server.config import Limits
from secondsight.server.problems import ApiError, bad_request, from_user_error

_DATA: Final = re.compile(r"data:image/[a-z0-9.+-]{1,40}(;[a-z0-9.=+-]{1,40}){0,3};base64,", re.I)
_LONGEST_ADDRESS: Final = 4096

Fetch = Callable[[str], bytes]
"""Fetches an address under the server's rules, or raises an `ImageError`."""


@dataclass(frozen=True)
class ImageFile:
    """An image that is not decoded yet.

    Attributes:
        data: The file.
        size: Width and height in pixels, by its header.
        param: Where in the request it came.
        limits: What is opened.
    """

    data: bytes
    size: tuple[int, int]
    param: str
    limits: Allowed

    @property
    def pixels(self) -> int:
        """How many pixels it will take."""
        return self.size[0] * self.size[1]

    def opened(self) -> Image.Image:
        """The image, as 8-bit RGB.

        Raises:
            ApiError: 400: damaged.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's own limits lie above the server's
                return open_image(self.data, self.limits)
        except ImageError as error:
            raise from_user_error(error, self.param) from None
        except MemoryError:
            raise
        except Exception as error:  # a decoder may fail at damaged data in any way
            raise bad_request(
                f"The image is damaged ({type(error).__name__}).", self.param, "invalid_image"
            ) from None


def image_files(urls: Sequence[str], limits: Limits, fetch: Fetch | None) -> list[ImageFile]:
    """Read the images of a request as far as their headers.

    Args:
        urls: What the client wrote, in order.
        limits: How many and how large they may be.
        fetch: Fetches addresses; None where only data URLs are taken.

    Raises:
        ApiError: 400, with the image that is wrong, and why.
    """
    if len(urls) > limits.images:
        raise bad_request(
            f"{len(urls)} images were given; at most {limits.images} are taken per request.",
            "messages",
            "too_many_images",
        )
    files = [_file(url, number, limits, fetch) for number, url in enumerate(urls)]
    total = sum(file.pixels for file in files)
    if total > limits.request_pixels:
        raise bad_request(
            f"The images have {total:,} pixels together; at most {limits.request_pixels:,} are "
            "taken per request. Shrink them first.",
            "messages",
            "image_too_large",
        )
    return files


def _file(url: str, number: int, limits: Limits, fetch: Fetch | None) -> ImageFile:
    param = f"image {number + 1} of the messages"
    if url[:5].lower() == "data:":
        data = _decoded(url, param, limits)
    elif url[:8].lower().startswith(("http://", "https://")):
        data = _fetched(url, param, fetch)
    else:
        kind = re.split(r"[:,/]", url[:30])[0][:20]
        raise bad_request(
            f"An image must be a data URL such as data:image/png;base64,...; this one begins with "
            f"{kind!r}.",
            param,
            "invalid_image_url",
        )
    if len(data) > limits.image_bytes:
        raise bad_request(
            f"The image has {len(data):,} bytes; at most {limits.image_bytes:,} are taken.",
            param,
            "image_too_large",
        )
    size, kind = _size(data, param)
    if max(size) > limits.side:
        raise bad_request(
            f"The image has {size[0]} x {size[1]} pixels; no side may have more than "
            f"{limits.side:,}. Shrink it first.",
            param,
            "image_too_large",
        )
    most = limits.pixels * 2 // 3 if kind == "WEBP" else limits.pixels  # twice the memory
    if size[0] * size[1] > most:
        raise bad_request(
            f"The {kind} image has {size[0]} x {size[1]} pixels; at most {most:,} are taken. "
            "Shrink it first.",
            param,
            "image_too_large",
        )
    return ImageFile(data, size, param, Allowed(limits.pixels, limits.image_bytes, WEB_FORMATS))


def _decoded(url: str, param: str, limits: Limits) -> bytes:
    head = _DATA.match(url)
    if head is None:
        raise bad_request(
            "A data URL of an image begins with data:image/png;base64, (or jpeg, webp, gif, bmp).",
            param,
            "invalid_image_url",
        )
    length = len(url) - head.end()
    if length * 3 // 4 > limits.image_bytes + 4:
        raise bad_request(
            f"The image has about {length * 3 // 4:,} bytes; at most {limits.image_bytes:,} are "
            "taken.",
            param,
            "image_too_large",
        )
    text = url[head.end() :]
    if any(blank in text for blank in " \n\r\t"):
        text = "".join(text.split())
    if "-" in text or "_" in text:  # the alphabet of URLs, which some clients use
        text = text.replace("-", "+").replace("_", "/")
    text = text.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise bad_request("The image's base64 is broken.", param, "invalid_base64") from None


def _fetched(url: str, param: str, fetch: Fetch | None) -> bytes:
    if fetch is None:
        raise bad_request(
            "This server fetches no images. Send the image itself as a data URL "
            "(data:image/png;base64,...); --allow-media-domain turns fetching on.",
            param,
            "image_fetching_off",
        )
    if len(url) > _LONGEST_ADDRESS:
        raise bad_request("The image's address is too long.", param, "invalid_image_url")
    try:
        return fetch(url)
    except ImageError as error:
        raise from_user_error(error, param) from None


def _size(data: bytes, param: str) -> tuple[tuple[int, int], str | None]:
    """An image's size and format by its header; no pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=WEB_FORMATS) as image:
                return image.size, image.format
    except Image.DecompressionBombError:
        problem = "The image has too many pixels. Shrink it first."
        raise bad_request(problem, param, "image_too_large") from None
    except UnidentifiedImageError:
        raise bad_request(
            f"The data are no image of a kind that is taken: {', '.join(WEB_FORMATS)}.",
            param,
            "invalid_image",
        ) from None
    except ApiError:
        raise
    except Exception as error:  # a decoder may fail at a damaged header in any way
        raise bad_request(
            f"The image's header is damaged ({type(error).__name__}).", param, "invalid_image"
        ) from None
