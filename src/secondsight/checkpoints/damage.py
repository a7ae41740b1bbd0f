"""Turning what libraries raise for damaged checkpoints into errors that say so in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from secondsight.errors import CheckpointError, UserError

_LONGEST: Final = 400


@contextmanager
def damaged_as_errors(name: str) -> Iterator[None]:
    """Whatever is raised inside becomes a `CheckpointError` in one line.

    A damaged file makes the libraries that read it raise anything: no list of their errors was
    ever complete.

    Args:
        name: The checkpoint's name.

    Raises:
        CheckpointError: Something other than a `UserError` was raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # the device's fault, said elsewhere
            raise
        raise CheckpointError(f"{name!r} cannot be loaded: {in_a_line(error)}") from error


def in_a_line(error: BaseException) -> str:
    """What an error says, on one line, without the addresses of a C++ library's frames."""
    text = " ".join(str(error).partition("Exception raised from")[0].split())
    if isinstance(error, KeyError) or not text:
        text = f"{type(error).__name__} {text}".rstrip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
