"""Decoding methods: one file each, found by their decorator; users' own register the same way."""

from importlib import import_module
from typing import Any

from secondsight.methods.base import Method, parameter, plausibility
from secondsight.methods.registry import controls, controls_of, create, get, names, register, split
from secondsight.registry import shipped

__all__ = [
    "Method",
    "controls",
    "controls_of",
    "create",
    "get",
    "names",
    "parameter",
    "plausibility",
    "register",
    "split",
]


def __getattr__(name: str) -> Any:
    """Import a method's class when it is first asked for, such as ``secondsight.methods.VCD``."""
    for one in shipped(__name__):
        if one.attribute == name:
            value = globals()[name] = getattr(import_module(one.module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(one.attribute for one in shipped(__name__))})
