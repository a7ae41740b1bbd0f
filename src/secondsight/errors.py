"""Errors that a user can mend; the command line turns each into one line and exit code 2."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """What was wrong, with what, and what to do about it. Base of every error raised on purpose."""


class ImageError(UserError):
    """An image that cannot be used: missing, broken, too large, unreachable."""


class QuestionError(UserError):
    """A question that cannot be asked: empty, or longer than the model's context."""


class MethodError(UserError):
    """An unknown decoding method, an unknown parameter, or a value outside its range."""


class CheckpointError(UserError):
    """A checkpoint that cannot be loaded: incomplete, of another model, or not found."""


class UnsupportedError(UserError):
    """A combination of settings that is refused by name rather than ignored."""


class ExhaustedError(UserError):
    """A request that the device's memory does not hold even on its own."""


class Remark(UserWarning):
    """What a user should know of a result, though nothing failed; the command line shows it."""


def shown(value: object, longest: int = 80) -> str:
    """A value as messages show it: in one line, not too long, whatever its ``repr`` does.

    Args:
        value: Anything.
        longest: The most characters.
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:  # of a foreign object, or a whole number of thousands of digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= longest else text[: longest - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the known name closest to `name`, and all of them.

    Args:
        name: What the user wrote.
        known: The names that would have been right.

    Returns:
        For example ``" Did you mean 'ritual'? Known: apc, regular, ritual."``
    """
    names = sorted(known)
    best = get_close_matches(name, names, n=1)
    hint = f" Did you mean {best[0]!r}?" if best else ""
    return f"{hint} Known: {', '.join(names)}."


class DataError(UserError):
    """A file of data that cannot be used as it is."""
