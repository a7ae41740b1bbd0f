"""Declared options: a benchmark's fields, read from text or given as they are."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from secondsight.errors import UserError, nearest

Kind: TypeAlias = "type[str] | type[int] | type[bool] | type[Path]"

_KINDS = {str: "text", int: "a whole number", bool: "true or false", Path: "a path"}


def option(
    default: Any,
    help: str,
    *,
    kind: Kind | None = None,
    choices: Sequence[str] = (),
    low: int | None = None,
) -> Any:
    """Declare an option of a benchmark: a field of its class.

    Args:
        default: Its value where it is not given.
        help: What it means, for ``secondsight benchmarks``.
        kind: What values are: `str`, `int`, `bool` or `Path`; by default the default's type.
            None is a value of every kind if it is the default.
        choices: All values that there are.
        low: The least number.
    """
    metadata = {
        "help": help,
        "kind": kind or type(default),
        "choices": tuple(choices),
        "low": low,
    }
    return dataclasses.field(default=default, metadata=metadata)


def check(what: str, field: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value of the wrong kind.

    Args:
        what: Whose option it is, for the message.
        field: The option.
        value: What was given.

    Raises:
        UserError: It is of another kind, or not among the choices.
    """
    kind, choices = field.metadata.get("kind"), field.metadata.get("choices", ())
    if kind is None or (value is None and field.default is None):
        return
    fits = (
        isinstance(value, str | os.PathLike)
        if kind is Path
        else isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    )
    if not fits:
        raise UserError(f"{what}: {field.name} must be {_KINDS[kind]}, not {value!r}.")
    if choices and value not in choices:
        raise UserError(
            f"{what}: {field.name} cannot be {value!r}.{nearest(str(value), map(str, choices))}"
        )
    low = field.metadata.get("low")
    if low is not None and value < low:
        raise UserError(f"{what}: {field.name} must be at least {low}, not {value}.")


def parse(what: str, field: dataclasses.Field[Any], text: str) -> Any:
    """A value from text, as the option's kind has it.

    Raises:
        UserError: The text is not of that kind.
    """
    kind = field.metadata.get("kind", str)
    if field.default is None and text.lower() == "none":
        return None
    try:
        if kind is bool:
            return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        raise UserError(f"{what}: {field.name} must be {_KINDS[kind]}, not {text!r}.") from None
