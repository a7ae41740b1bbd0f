"""Reading text and JSON with errors that say where, and writing files whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from secondsight.errors import DataError, UserError

PathLike = str | os.PathLike[str]

IMAGE_SUFFIXES: Final = frozenset(
    f".{name}"
    for name in (
        *("png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif"),
        *("heic", "heif", "jp2", "j2k", "jpx", "ppm", "pgm", "pbm", "pnm", "ico", "icns", "tga"),
        *("qoi", "psd", "pcx", "sgi", "dds"),
    )
)
"""How the names of the files end that are taken from a folder."""

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON writes half of a character, or a whole one by its halves."""


def check_writable(path: Path) -> None:
    """Make the file's folder, and refuse now what could only fail at the end of a run.

    Raises:
        UserError: The path is a folder, or its folder cannot be made or written.
    """
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder. Name the file inside it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path`, which takes its place once it is finished.

    Raises:
        UserError: The file cannot be written.
    """
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file; an existing one is replaced only by the finished one.

    Raises:
        UserError: The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: PathLike, most: int = 2 * 1024**3) -> str:
    """Reads a UTF-8 file (a byte order mark is dropped).

    Args:
        path: The file.
        most: The most bytes that are read.

    Raises:
        DataError: If it is missing, no regular file, too large, not UTF-8, or empty.
    """
    file = Path(path)
    try:
        kind = file.stat()
        if stat.S_ISDIR(kind.st_mode):
            raise DataError(f"{file}: is a directory, a file was expected")
        if not stat.S_ISREG(kind.st_mode):  # it might never end, or never begin
            raise DataError(f"{file}: is a pipe or a device, a file was expected")
        if kind.st_size > most:
            raise DataError(
                f"{file}: holds {kind.st_size / 1e9:.1f} GB, more than the {most / 1e9:.1f} GB "
                "that are read; split it"
            )
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # a name that no file can have
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(file)!r}: no file can be called so ({error})") from None
    if not text.strip():
        raise DataError(f"{file}: the file is empty")
    return text


def parse_json(text: str, where: str) -> Any:
    """One JSON document from text.

    Args:
        text: The text.
        where: Where it stands, to begin the error message with.

    Raises:
        DataError: It is not JSON, is nested too deeply, or holds a number too long to read or text
            that cannot be written again.
    """
    try:
        document = json.loads(text)
        if _SURROGATE.search(text) and _holds_half_characters(document):
            raise DataError(f"{where}: holds half of a character (a lone surrogate)")
        return document
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}" if "\n" in text else where
        raise DataError(f"{place}: not JSON ({error.msg})") from None
    except RecursionError:
        raise DataError(f"{where}: not JSON that can be read (nested too deeply)") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: not JSON that can be read ({error})") from None


def _holds_half_characters(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= one <= "\udfff" for one in value)
    if isinstance(value, dict):
        return any(_holds_half_characters(one) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(map(_holds_half_characters, value))


def read_json(path: PathLike) -> Any:
    """Reads one JSON document.

    Raises:
        DataError: As `read_text` and `parse_json` do.
    """
    return parse_json(read_text(path), str(path))


def text_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomic(path: PathLike, text: str) -> None:
    """Writes a whole text file, or leaves the old one untouched."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
