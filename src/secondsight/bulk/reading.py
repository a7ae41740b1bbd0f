"""Fetching a row's image, wherever it is; called in threads, ahead of the model."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from PIL import Image

from secondsight.bulk.parquet import RowGroups
from secondsight.bulk.rows import Row
from secondsight.bulk.storage import storage_of
from secondsight.errors import ImageError, UserError
from secondsight.fetching import FetchPolicy, fetch, is_url
from secondsight.images import open_image
from secondsight.sources import MAX_FILE, read_bytes

_TAR, _PARQUET = ".tar#", ".parquet#"

PUBLIC: Final = FetchPolicy(allow_private=False, timeout_s=10)
"""Addresses in lists come from anywhere, so they are kept to the open internet."""


def image_of(row: Row, policy: FetchPolicy = PUBLIC, column: str = "image") -> Image.Image | None:
    """Open a row's image.

    Args:
        row: The row.
        policy: What may be fetched by http and https.
        column: The column of a parquet file that holds images.

    Returns:
        The image, decoded; None for a row without one.

    Raises:
        ImageError: It cannot be used.
    """
    name = row.image
    if name is None:
        return None
    try:
        if is_url(name):
            return open_image(fetch(name, policy))
        if name.startswith("data:"):
            return open_image(name)
        for mark, read in ((_TAR, _in_tar), (_PARQUET, _in_parquet)):
            if mark in name:
                file, _, member = name.rpartition("#")
                return open_image(read(file, member, column))
        if "://" in name:
            storage, path = storage_of(name)
            with storage.open(path) as opened:
                return open_image(read_bytes(opened))
        return open_image(name)
    except UserError:
        raise
    except Exception as error:  # of a bucket's library, whose errors nobody can list
        raise ImageError(
            f"{name[:200]!r} cannot be read: {type(error).__name__}: {str(error)[:200]}"
        ) from error


def _in_tar(file: str, place: str, column: str) -> bytes:
    start, _, count = place.partition("+")
    if int(count) > MAX_FILE:
        raise ImageError(f"The image at {start} in {file!r} has {int(count):,} bytes.")
    storage, path = storage_of(file)
    with storage.open(path) as opened:
        opened.seek(int(start))
        return opened.read(int(count))


def _in_parquet(file: str, number: str, column: str) -> bytes:
    found: Any = _groups(file, column).record(int(number))
    if isinstance(found, dict):
        found = found.get("bytes")
    if not isinstance(found, bytes | bytearray):
        raise ImageError(f"Row {number} of {file!r} holds no image.")
    return bytes(found)


@lru_cache(maxsize=8)
def _groups(file: str, column: str) -> RowGroups:
    storage, path = storage_of(file)
    return RowGroups(storage.open(path), column)
