"""Methods by name: ``ritual``, ``ritual:alpha=2,transform=hflip``, and users' own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from secondsight.errors import MethodError, shown
from secondsight.methods.base import Method, parse_value
from secondsight.methods.combination import Combination
from secondsight.registry import Registry

M = TypeVar("M", bound=type[Method])

LONGEST_SPEC: Final = 500
"""The longest text of a method, in characters."""


def _accept(name: str, method: object) -> type[Method]:
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise MethodError(f"{method!r} is not a subclass of secondsight.Method.")
    parameters: Any = vars(method).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise MethodError(f"{method.__qualname__} must be a frozen dataclass.")
    other = vars(method).get("name", name)
    if other != name and other in METHODS.registered:
        raise MethodError(f"{method.__qualname__} is the method {other!r} already.")
    method.name = name
    return method


METHODS: Final = Registry(
    "method",
    package="secondsight.methods",
    group="secondsight.methods",
    accept=_accept,
    error=MethodError,
)
"""All methods: those of this package, of entry points ``secondsight.methods``, and users' own."""


def register(name: str) -> Callable[[M], M]:
    """Class decorator: make a method known by a name, in Python and on the command line.

    Args:
        name: The name; it must not contain ``:``, ``,``, ``;``, ``=`` or blanks.

    Raises:
        MethodError: The name is taken by another class, or cannot be written on a command line; or
            the class is no frozen dataclass derived from `Method`.
    """
    return METHODS.register(name)


def names() -> list[str]:
    """The names of all methods that can be used: regular first, controls last."""
    methods, _ = METHODS.entries()
    return sorted(methods, key=lambda name: (methods[name].control, name != "regular", name))


def controls() -> list[str]:
    """The names of the controls: what a method must beat before its gain means anything."""
    return [name for name in names() if get(name).control]


def controls_of(methods: Iterable[str]) -> list[str]:
    """The names of the controls of some methods: those of all, and those of one of them.

    Args:
        methods: The methods' names or texts; of a combination, each part counts.
    """
    parts = {part.partition(":")[0] for text in methods for part in text.split("+")}
    return [name for name in controls() if get(name).control_of in ("", *parts)]


def is_control_of(method: str, control: str) -> bool:
    """Whether a control is one of a method's; both by their texts."""
    return control.partition(":")[0] in controls_of([method])


def get(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        MethodError: No method has that name, or the package that it comes with is broken.
    """
    return METHODS.get(name)


def split(text: str) -> list[str]:
    """Several methods from text: ``ritual,vcd:alpha=2,step=300``.

    A comma before ``name=`` continues a method's parameters; a semicolon may stand between
    methods as well.

    Raises:
        MethodError: It names none.
    """
    specs: list[str] = []
    for group in text.split(";"):
        for place, part in enumerate(part.strip() for part in group.split(",")):
            if place and specs and "=" in part and ":" not in part.partition("=")[0]:
                specs[-1] += f",{part}"
            elif part:
                specs.append(part)
    if not specs:
        raise MethodError("The list names no method. All of them: secondsight methods.")
    return specs


def create(spec: str | Method) -> Method:
    """Make a method from text such as ``ritual:alpha=2,transform=hflip``.

    Methods are combined by ``+``, as in ``vcd:alpha=1+icd:alpha=0.5``; a name with a ``+`` in it
    that is registered means the method of that name.

    Args:
        spec: The text, or a method, which is returned as it is.

    Raises:
        MethodError: Unknown method or parameter, a value of the wrong kind or out of range, or
            methods that cannot be combined.
    """
    if isinstance(spec, Method):
        return spec
    if not isinstance(spec, str):
        raise MethodError(
            f"A method is text such as 'ritual:alpha=2', or a Method; not {shown(spec)}."
        )
    if len(spec) > LONGEST_SPEC:
        raise MethodError(f"A method's text has at most {LONGEST_SPEC} characters: {shown(spec)}.")
    parts = tuple(_single(part) for part in _parts(spec.strip()))
    return parts[0] if len(parts) == 1 else Combination(parts=parts)


def _parts(text: str) -> list[str]:
    """The texts of the methods that a text combines."""
    known = sorted(METHODS.names(), key=len, reverse=True)
    parts: list[str] = []
    start = 0
    while True:
        name = _name_at(text, start, known)
        after = start + len(name if name is not None else re.match(r"[^:+]*", text[start:])[0])  # type: ignore[index]
        if text[after : after + 1] == ":":  # a + within a parameter's text is followed by no method
            pluses = (found.start() for found in re.finditer(r"\+", text[after:]))
            ends = (after + plus for plus in pluses if _name_at(text, after + plus + 1, known))
            after = next(ends, len(text))
        parts.append(text[start:after])
        if after >= len(text):
            return parts
        start = after + 1


def _name_at(text: str, start: int, known: list[str]) -> str | None:
    """The longest name that a text has at a place, with blanks around it; None for none."""
    blanks = len(text[start:]) - len(text[start:].lstrip())
    for name in known:
        end = start + blanks + len(name)
        if text.startswith(name, start + blanks) and re.match(r"\s*([:+]|$)", text[end:]):
            return text[start:end] + text[end : len(text) - len(text[end:].lstrip())]
    return None


def _single(spec: str) -> Method:
    name, _, rest = spec.strip().partition(":")
    method = get(name.strip())
    values: dict[str, Any] = {}
    key = ""
    for setting in filter(str.strip, rest.split(",")):
        name, equals, text = setting.partition("=")
        if equals:
            key = name.strip()
            values[key] = parse_value(method, key, text.strip())
        elif isinstance(values.get(key), str):  # a comma within a text, not behind it
            values[key] += "," + setting.rstrip()
        else:
            raise MethodError(f"{setting.strip()!r} in {spec!r} is not of the form name=value.")
    return method(**values)
