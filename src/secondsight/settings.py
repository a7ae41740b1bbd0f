"""How an answer is generated, whatever the method: length, temperature and the like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypedDict

from secondsight.errors import UserError, nearest

_COLDEST: Final = 1e-6
"""Scores divided by less may not be finite; here already only the best token is ever drawn."""


@dataclass(frozen=True)
class Settings:
    """Generation settings, checked.

    Attributes:
        max_new_tokens: The longest answer, in tokens.
        temperature: 0 for greedy decoding; otherwise the scores are divided by it and drawn from.
        top_p: Draw from the fewest tokens that together reach this probability, in (0, 1].
        top_k: Draw from this many tokens at the most; None for all.
        repetition_penalty: Above 1 it discourages tokens that were already written.
        stop: Strings at which an answer ends.
        seed: Of everything that is drawn.

    Raises:
        UserError: A value out of its range or of the wrong kind.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        _whole("seed", self.seed, None)
        _whole("max_new_tokens", self.max_new_tokens, 1)
        if self.top_k is not None:
            _whole("top_k", self.top_k, 1)
        _number("temperature", self.temperature, 0.0, None)
        _number("top_p", self.top_p, 0.0, 1.0, above=True)
        _number("repetition_penalty", self.repetition_penalty, 0.0, None, above=True)
        if not all(isinstance(text, str) and text for text in self.stop):
            raise UserError("stop must be a string or several, none of them empty.")

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn rather than the best taken."""
        return self.temperature > 0

    def for_generate(self) -> dict[str, Any]:
        """The settings as keyword arguments of transformers' ``generate``."""
        drawing = {
            "temperature": max(float(self.temperature), _COLDEST),
            "top_p": float(self.top_p),
            "top_k": self.top_k or 0,  # transformers would otherwise cut at 50
        }
        neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": 50}
        return {
            "do_sample": self.samples,
            "repetition_penalty": float(self.repetition_penalty),
            "num_beams": 1,
            **(drawing if self.samples else neutral),
        }


class SettingsOptions(TypedDict, total=False):
    """`Settings` as keyword arguments; `stop` may be one string or several."""

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int | None
    repetition_penalty: float
    stop: str | Sequence[str] | None
    seed: int


def settings_from(options: SettingsOptions) -> Settings:
    """Settings from keyword arguments.

    Raises:
        UserError: A name that no setting has, or a value that cannot be used.
    """
    known = [one.name for one in fields(Settings)]
    for name in options:
        if name not in known:
            raise UserError(f"There is no setting {name!r}.{nearest(name, known)}")
    values: dict[str, Any] = {**options, "stop": as_stops(options.get("stop"))}
    return Settings(**values)


def as_stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """Stop strings as a tuple."""
    if stop is None:
        return ()
    if not isinstance(stop, str | list | tuple):
        raise UserError(f"stop must be a string or several, not {stop!r}.")
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _whole(name: str, value: object, low: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{name} must be a whole number, not {value!r}.")
    if low is not None and value < low:
        raise UserError(f"{name} must be at least {low}, not {value}.")


def _number(
    name: str, value: object, low: float, high: float | None, *, above: bool = False
) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{name} must be a number, not {value!r}.")
    too_low = value <= low if above else value < low
    if not math.isfinite(value) or too_low or (high is not None and value > high):
        least = f"above {low:g}" if above else f"at least {low:g}"
        most = f" and at most {high:g}" if high is not None else " and finite"
        raise UserError(f"{name} must be {least}{most}, not {value}.")
