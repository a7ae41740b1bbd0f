"""How an answer is generated, whatever the method: length, temperature and the like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from secondsight.errors import UserError

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


def as_stops(stop: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
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
