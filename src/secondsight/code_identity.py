"""Whose code a class is, so that answers say when a plug-in file has changed."""

from __future__ import annotations

import hashlib
import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Final

_OWN: Final = __name__.partition(".")[0]


def code_hash(of: type) -> str | None:
    """SHA-256 of the file that defines a class, in hexadecimal; read once in a process.

    Args:
        of: A class, such as a method's.

    Returns:
        The hash of the file, or of the class alone where it was written in a notebook; None for
        what ships with secondsight, whose version says it, and for what has no source.
    """
    if of.__module__.partition(".")[0] == _OWN:
        return None
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    try:
        return file_hash(file) if file else _hash(inspect.getsource(of).encode())
    except (OSError, TypeError):
        return None


@cache
def file_hash(path: str) -> str:
    """SHA-256 of a file as it was when it was first asked for."""
    return _hash(Path(path).read_bytes())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
