"""Where files are: on this machine, or behind a URL that fsspec opens (S3, GCS, Azure, ...)."""

from __future__ import annotations

import glob
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from secondsight.errors import UserError
from secondsight.extras import needed

_REMOTE: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")


class Storage(Protocol):
    """Files by their paths."""

    def is_folder(self, path: str) -> bool:
        """Whether a path is a folder."""
        ...

    def is_file(self, path: str) -> bool:
        """Whether a path is a file."""
        ...

    def files(self, folder: str) -> Iterable[str]:
        """All files in a folder and the folders in it."""
        ...

    def matching(self, pattern: str) -> Iterable[str]:
        """The files that a pattern such as ``a/*.jpg`` stands for."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        ...

    def full(self, path: str) -> str:
        """The path as it is found again from anywhere."""
        ...


def storage_of(name: str) -> tuple[Storage, str]:
    """Where a name leads, and the path there.

    Args:
        name: A path, or a URL such as ``s3://bucket/folder``.

    Raises:
        UserError: Nothing opens such URLs.
        MissingPackageError: fsspec, or its part for such URLs, is not installed.
    """
    remote = _REMOTE.match(name)
    if remote is None or remote[1].lower() == "file":
        path = name.removeprefix("file://")
        return _Local(), str(Path(path).expanduser())
    with needed("bulk", f"Reading {remote[1]}://"):
        import fsspec
    try:
        system, path = fsspec.core.url_to_fs(name)
    except (ValueError, ImportError) as error:
        raise UserError(f"{name!r} cannot be opened: {error}") from None
    return _Remote(system), path


class _Local:
    def is_folder(self, path: str) -> bool:
        return Path(path).is_dir()

    def is_file(self, path: str) -> bool:
        return Path(path).is_file()

    def files(self, folder: str) -> Iterable[str]:
        for root, folders, names in os.walk(folder):
            folders[:] = [one for one in folders if not one.startswith(".")]
            yield from (os.path.join(root, name) for name in names)  # noqa: PTH118

    def matching(self, pattern: str) -> Iterable[str]:
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207 (may be absolute)
        return [one for one in found if Path(one).is_file()]

    def open(self, path: str) -> BinaryIO:
        return Path(path).open("rb")

    def full(self, path: str) -> str:
        return str(Path(path).absolute())


class _Remote:
    def __init__(self, system: Any) -> None:
        self._system = system

    def is_folder(self, path: str) -> bool:
        return bool(self._system.isdir(path))

    def is_file(self, path: str) -> bool:
        return bool(self._system.isfile(path))

    def files(self, folder: str) -> Iterable[str]:
        found: list[str] = self._system.find(folder)
        return found

    def matching(self, pattern: str) -> Iterable[str]:
        found: list[str] = self._system.glob(pattern)
        return found

    def open(self, path: str) -> BinaryIO:
        return io.BufferedReader(self._system.open(path, "rb"))  # whose lines have a limit

    def full(self, path: str) -> str:
        return str(self._system.unstrip_protocol(path))
