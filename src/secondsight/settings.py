"""How an answer is generated, whatever the method: length, temperature and the like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Final, Literal, TypedDict

from secondsight.errors import UserError, nearest, shown

_COLDEST: Final = 1e-6
"""Scores divided by less may not be finite; here already only the best token is ever drawn."""

LARGEST_SEED: Final = 2**64 - 1

MOST_BEAMS: Final = 64
"""The most hypotheses of a search: each needs the memory of an answer."""

_SEARCH: Final = ("num_beams", "length_penalty", "early_stopping", "num_return_sequences")


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
        num_beams: Above 1: search for the answer that is best as a whole, with so many hypotheses
            at a time, instead of taking the best token each time.
        length_penalty: Of a search: scores are sums of log-probabilities divided by the length to
            this power, so above 0 it favours long answers, below 0 short ones.
        early_stopping: Of a search: whether it ends with the first `num_beams` answers; ``never``
            for going on until none can get better; False for a guess in between.
        num_return_sequences: How many answers of a search are returned; see `Answer.alternatives`.

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
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    num_return_sequences: int = 1

    def __post_init__(self) -> None:
        self._set("seed", _whole("seed", self.seed, -LARGEST_SEED, LARGEST_SEED))
        self._set("max_new_tokens", _whole("max_new_tokens", self.max_new_tokens, 1))
        if self.top_k is not None:
            self._set("top_k", _whole("top_k", self.top_k, 1))
        self._set("temperature", _number("temperature", self.temperature, 0.0, None))
        self._set("top_p", _number("top_p", self.top_p, 0.0, 1.0, above=True))
        penalty = _number("repetition_penalty", self.repetition_penalty, 0.0, None, above=True)
        self._set("repetition_penalty", penalty)
        self._set("stop", as_stops(self.stop))
        self._check_search()

    def _check_search(self) -> None:
        self._set("num_beams", _whole("num_beams", self.num_beams, 1, MOST_BEAMS))
        self._set("length_penalty", _number("length_penalty", self.length_penalty, -10.0, 10.0))
        if self.early_stopping != "never":
            try:
                self._set("early_stopping", flag("early_stopping", self.early_stopping))
            except UserError:
                raise UserError(
                    f"early_stopping must be True, False or 'never', not "
                    f"{shown(self.early_stopping)}."
                ) from None
        returned = _whole("num_return_sequences", self.num_return_sequences, 1)
        self._set("num_return_sequences", returned)
        if returned > self.num_beams:
            raise UserError(
                f"num_return_sequences is {returned}: at most num_beams, which is {self.num_beams}."
            )
        if self.num_beams > 1 and self.samples:
            raise UserError(
                f"Beam search draws nothing: with num_beams={self.num_beams} the temperature must "
                f"be 0, not {self.temperature:g}."
            )

    def _set(self, name: str, value: Any) -> None:
        """Keep what was checked, as Python's own type: numbers of NumPy's are welcome."""
        object.__setattr__(self, name, value)

    def recorded(self) -> dict[str, Any]:
        """The settings by name, for the record; those of a search only where there is one."""
        values = {**asdict(self), "stop": list(self.stop)}
        for name in () if self.num_beams > 1 else _SEARCH:
            del values[name]
        return values

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
    num_beams: int
    length_penalty: float
    early_stopping: bool | Literal["never"]
    num_return_sequences: int


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
    """Stop strings as a tuple.

    Raises:
        UserError: They are no texts, or one of them is empty.
    """
    if stop is None:
        return ()
    if not isinstance(stop, str | list | tuple):
        raise UserError(f"stop must be a string or several, not {shown(stop)}.")
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    for text in stops:
        if not isinstance(text, str) or not text:
            raise UserError(f"stop must be a string or several, none of them empty: {shown(stop)}.")
        if not is_text(text):
            raise UserError(f"stop holds half a character, which is no text: {shown(text)}.")
    return stops


def is_text(text: str) -> bool:
    """Whether every character is a whole one, so that it can be written as UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def flag(name: str, value: object) -> bool:
    """A yes or no, as Python's own type.

    Raises:
        UserError: It is neither, such as the text ``no``, which Python takes for yes.
    """
    if _is_bool(value) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise UserError(f"{name} must be True or False, not {shown(value)}.")


def _is_bool(value: object) -> bool:
    """Whether it is True or False, of Python or of NumPy (whose own is no bool)."""
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


def _whole(name: str, value: object, low: int, high: int | None = None) -> int:
    if _is_bool(value) or not isinstance(value, Integral):
        raise UserError(f"{name} must be a whole number, not {shown(value)}.")
    whole = int(value)
    if whole < low or (high is not None and whole > high):
        most = f" and at most {high}" if high is not None else ""
        raise UserError(f"{name} must be at least {low}{most}, not {shown(whole)}.")
    return whole


def _number(
    name: str, value: object, low: float, high: float | None, *, above: bool = False
) -> float:
    if _is_bool(value) or not isinstance(value, Real):
        raise UserError(f"{name} must be a number, not {shown(value)}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    too_low = number <= low if above else number < low
    if not math.isfinite(number) or too_low or (high is not None and number > high):
        least = f"above {low:g}" if above else f"at least {low:g}"
        most = f" and at most {high:g}" if high is not None else " and finite"
        raise UserError(f"{name} must be {least}{most}, not {shown(value)}.")
    # A whole number stays one: it is written into the record as it was given.
    return int(value) if isinstance(value, Integral) else number
