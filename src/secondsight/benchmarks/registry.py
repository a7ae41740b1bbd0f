"""Benchmarks by name: ``pope``, ``pope:parser=vcd-2023``, and users' own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from secondsight.benchmarks.base import Benchmark
from secondsight.benchmarks.options import parse
from secondsight.errors import UserError, nearest
from secondsight.registry import Registry

B = TypeVar("B", bound=type[Benchmark])


def _accept(name: str, thing: object) -> type[Benchmark]:
    if not isinstance(thing, type) or not issubclass(thing, Benchmark):
        raise UserError(f"{thing!r} is not a subclass of secondsight.benchmarks.Benchmark.")
    parameters = vars(thing).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise UserError(f"{thing.__qualname__} must be a frozen dataclass.")
    thing.name = name
    return thing


BENCHMARKS: Final = Registry(
    "benchmark",
    package="secondsight.benchmarks",
    group="secondsight.benchmarks",
    accept=_accept,
)
"""All benchmarks: those of this package, of entry points ``secondsight.benchmarks``, and users'."""


def register(name: str) -> Callable[[B], B]:
    """Class decorator: make a benchmark known by a name, in Python and on the command line.

    Args:
        name: The name; it must not contain ``:``, ``,``, ``;``, ``=`` or blanks.

    Raises:
        UserError: The name is taken by another class, or cannot be written on a command line; or
            the class is no frozen dataclass derived from `Benchmark`.
    """
    return BENCHMARKS.register(name)


def names() -> list[str]:
    """The names of all benchmarks; nothing is loaded."""
    return BENCHMARKS.names()


def get(name: str) -> type[Benchmark]:
    """The class of a benchmark.

    Raises:
        UserError: No benchmark has that name, or the package that it comes with is broken.
    """
    return BENCHMARKS.get(name)


def create(spec: str | Benchmark, options: Mapping[str, Any] | None = None) -> Benchmark:
    """Make a benchmark from text such as ``pope:parser=vcd-2023`` and further options.

    Args:
        spec: The text, or a benchmark, to which the options are added.
        options: Options by name; they must not be in the text as well.

    Raises:
        UserError: Unknown benchmark or option, or a value of the wrong kind.
    """
    given = dict(options or {})
    if isinstance(spec, Benchmark):
        _refuse_unknown(type(spec), given)
        return dataclasses.replace(spec, **given)
    if not isinstance(spec, str):
        raise UserError(f"A benchmark is text such as 'pope', or a Benchmark; not {spec!r}.")
    name, _, rest = spec.strip().partition(":")
    benchmark = get(name.strip())
    fields = {field.name: field for field in dataclasses.fields(benchmark)}
    values: dict[str, Any] = {}
    for setting in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UserError(f"{setting!r} in {spec!r} is not of the form name=value.")
        _refuse_unknown(benchmark, {key: text})
        if key in values or key in given:
            raise UserError(f"{benchmark.name}: {key} is given twice.")
        values[key] = parse(benchmark.name, fields[key], text)
    _refuse_unknown(benchmark, given)
    return benchmark(**values, **given)


def _refuse_unknown(benchmark: type[Benchmark], given: Mapping[str, Any]) -> None:
    known = [field.name for field in dataclasses.fields(benchmark)]
    for name in given:
        if name not in known:
            there = nearest(name, known) if known else " It has none."
            raise UserError(f"{benchmark.name} has no option {name!r}.{there}")
