"""Methods by name: ``ritual``, ``ritual:alpha=2,transform=hflip``, and users' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from secondsight.errors import MethodError, nearest
from secondsight.methods.base import Method, parse_value

_METHODS: dict[str, type[Method]] = {}

M = TypeVar("M", bound=type[Method])


def register(name: str) -> Callable[[M], M]:
    """Class decorator: make a method known by a name, in Python and on the command line.

    Args:
        name: The name; it must not contain ``:``, ``,``, ``=`` or blanks.

    Raises:
        MethodError: The name is taken by another class, or cannot be written on a command line.
    """
    if not name or set(name) & set(":,= \t\n"):
        raise MethodError(f"A method cannot be called {name!r}: no blanks, ':', ',' or '='.")

    def add(method: M) -> M:
        taken = _METHODS.get(name)
        if taken is not None and _home(taken) != _home(method):
            raise MethodError(f"The method name {name!r} is taken by {'.'.join(_home(taken))}.")
        if not (isinstance(method, type) and issubclass(method, Method)):
            raise MethodError(f"{method!r} is not a subclass of secondsight.Method.")
        if "__dataclass_params__" not in vars(method) or not method.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise MethodError(f"{method.__qualname__} must be a frozen dataclass.")
        method.name = name
        _METHODS[name] = method
        return method

    return add


def _home(method: type[Method]) -> tuple[str, str]:
    """Where a class is from: a notebook's cell may define it again, another file may not."""
    return method.__module__, method.__qualname__


def names() -> list[str]:
    """The names of all methods: regular first, controls last."""
    return sorted(_METHODS, key=lambda name: (_METHODS[name].control, name != "regular", name))


def controls() -> list[str]:
    """The names of the controls: what a method must beat before its gain means anything."""
    return [name for name in names() if _METHODS[name].control]


def get(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        MethodError: No method has that name.
    """
    try:
        return _METHODS[name]
    except KeyError:
        raise MethodError(f"No method is called {name!r}.{nearest(name, _METHODS)}") from None


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

    Args:
        spec: The text, or a method, which is returned as it is.

    Raises:
        MethodError: Unknown method or parameter, or a value of the wrong kind or out of range.
    """
    if isinstance(spec, Method):
        return spec
    if not isinstance(spec, str):
        raise MethodError(f"A method is text such as 'ritual:alpha=2', or a Method; not {spec!r}.")
    name, _, rest = spec.strip().partition(":")
    method = get(name.strip())
    values = {}
    for setting in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, text = setting.partition("=")
        if not equals:
            raise MethodError(f"{setting!r} in {spec!r} is not of the form name=value.")
        values[key.strip()] = parse_value(method, key.strip(), text.strip())
    return method(**values)
