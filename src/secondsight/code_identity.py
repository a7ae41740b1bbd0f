"""Whose code a class is, so that answers say when a plug-in file has changed."""

from __future__ import annotations

import hashlib
import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Final

_OWN: Final = __name__.partition(".")[0]


@cache
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
        source = Path(file).read_bytes() if file else inspect.getsource(of).encode()
    except (OSError, TypeError):
        return None
    return hashlib.sha256(source).hexdigest()
