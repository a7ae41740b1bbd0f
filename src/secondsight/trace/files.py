"""Writing a file so that whoever looks sees the old one or the whole new one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secondsight.errors import UserError


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
