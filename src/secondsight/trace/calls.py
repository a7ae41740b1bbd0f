"""The calls that the data makes, recorded by Python's own profiling hook.

Nothing is wrapped or edited: while the hook is set, Python reports every call and return, and
those that handle tensors or images in secondsight, transformers' models and torch's layers are
noted. The hook is taken off after the first decode steps, so the rest runs at full speed.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import CO_GENERATOR, CO_NESTED, CO_VARARGS, CO_VARKEYWORDS
from types import CodeType, FrameType
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import nn

from secondsight.trace.facts import Call, Phase
from secondsight.trace.tensors import dtype_name

_RECORDED: Final = (
    "secondsight/decoding/",
    "secondsight/inference/",
    "secondsight/images.py",
    "secondsight/methods/",
    "secondsight/prompts.py",
    "secondsight/views.py",
    "transformers/cache_utils.py",
    "transformers/generation/utils.py",
    "transformers/image_processing",
    "transformers/integrations/",
    "transformers/masking_utils.py",
    "transformers/models/",
)
"""Beginnings of the files whose calls are recorded; torch's layers are known by their class."""

_LAYER: Final = re.compile(r"(.*\.(?:layers|blocks|h))\.(\d+)")
_LAYER_FILES: Final = "torch/nn/modules/"
_SKIPPED: Final = frozenset(
    {"__init__", "__getattr__", "__setattr__", "__post_init__", "_tensor_or_none", "pad_left"}
)
_PACKAGE: Final = re.compile(r".*?/(secondsight|transformers|torch|torchvision)/(?!.*/\1/)")


@dataclass
class _Entry:
    name: str
    module: str | None
    place: str
    called_from: str
    inputs: dict[str, str]
    phase: int
    depth: int
    outputs: str | None = None
    handles_data: bool = False
    repeats: int = 1


class CallRecorder:
    """Records calls, phase by phase.

    Args:
        model: The model, for its modules' names.
        steps: How many decode steps are recorded after prefill.
        layers: Numbers of repeated layers to show besides the first.
    """

    def __init__(self, model: nn.Module, *, steps: int, layers: Collection[int]) -> None:
        self._modules = {id(module): name for name, module in model.named_modules()}
        self._names = ["encoding", "prefill", *(f"decode step {n}" for n in range(1, steps + 1))]
        self._layers = layers
        self._phase = 0
        self._entries: list[_Entry] = []
        self._stack: list[tuple[FrameType, _Entry | None]] = []
        self._folded: FrameType | None = None
        self._first: dict[tuple[int, str], _Entry] = {}
        self._codes: dict[CodeType, str | None] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what is called inside, until `next_phase` has been through all phases."""
        before = sys.getprofile()
        sys.setprofile(self._event)
        try:
            yield
        finally:
            sys.setprofile(before)

    def next_phase(self) -> None:
        """Say that encoding, prefill or a decode step is over."""
        self._phase += 1
        if self._phase >= len(self._names):
            sys.setprofile(None)

    def phases(self) -> tuple[Phase, ...]:
        """What was recorded, without the calls that handled no data."""
        useful = [entry for entry in self._entries if entry.handles_data]
        return tuple(
            Phase(name, tuple(_nested([entry for entry in useful if entry.phase == number])))
            for number, name in enumerate(self._names)
        )

    def _event(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            if self._folded is None:
                self._call(frame)
        elif event == "return":
            if self._folded is frame:
                self._folded = None
            elif self._stack and self._stack[-1][0] is frame:
                _, entry = self._stack.pop()
                if entry is not None:
                    entry.outputs = describe(arg)
                    entry.handles_data = entry.handles_data or _is_data(arg)

    def _call(self, frame: FrameType) -> None:
        place = self._place(frame.f_code)
        if place is None:
            return
        owner = frame.f_locals.get("self")
        module = self._modules.get(id(owner)) if isinstance(owner, nn.Module) else None
        if place.startswith(_LAYER_FILES) and (module is None or frame.f_code.co_name != "forward"):
            return
        if self._phase == 0 and _name(frame.f_code, owner) == "Model.answer":
            self._folded = frame  # what a method asks first (RITUAL+) is not the answer's flow
            return
        if module and self._fold(frame, module):
            return
        inputs, handles_data = _arguments(frame)
        caller = frame.f_back
        entry = _Entry(
            name=_name(frame.f_code, owner),
            module=module or None,
            place=place,
            called_from=_caller(caller),
            inputs=inputs,
            phase=self._phase,
            depth=len(self._stack),
            handles_data=handles_data,
        )
        if module and _LAYER.fullmatch(module) and frame.f_code.co_name == "forward":
            self._first[self._phase, _LAYER.sub(r"\1", module)] = entry
        self._entries.append(entry)
        self._stack.append((frame, entry))

    def _fold(self, frame: FrameType, module: str) -> bool:
        """Whether the call is of a repeated layer that is to be folded into the first."""
        match = _LAYER.fullmatch(module)
        if match is None or int(match[2]) == 0 or int(match[2]) in self._layers:
            return False
        first = self._first.get((self._phase, match[1]))
        if first is None or frame.f_code.co_name != "forward":
            return False
        first.repeats += 1
        self._folded = frame
        return True

    def _place(self, code: CodeType) -> str | None:
        """Where the code is, relative to its package; None if its calls are not recorded."""
        if code not in self._codes:
            path = _relative(code.co_filename)
            recorded = path.startswith((*_RECORDED, _LAYER_FILES))
            ours = path.startswith("secondsight/")
            ordinary = (
                code.co_name not in _SKIPPED
                and not code.co_name.startswith("_" if ours else "<")
                and not code.co_flags & (CO_GENERATOR | CO_NESTED)
            )
            place = f"{path}:{_definition_line(code)}" if recorded and ordinary else None
            self._codes[code] = place
        return self._codes[code]


def layer_count(model: nn.Module) -> int:
    """How many layers the deepest stack of repeated layers in a model has."""
    matches = (_LAYER.fullmatch(name) for name, _ in model.named_modules())
    return max((int(match[2]) + 1 for match in matches if match), default=0)


def describe(value: Any, depth: int = 2) -> str:
    """Shapes and types of what a value holds: ``(1, 65, 64) float32``."""
    if isinstance(value, torch.Tensor):
        return f"{tuple(value.shape)} {dtype_name(value.dtype)}"
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype} (numpy)"
    if isinstance(value, Image.Image):
        return f"{value.width} x {value.height} {value.mode} image"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:57]!r}..."
    kind = type(value).__name__
    if depth and isinstance(value, Mapping):
        return _listed(kind, [f"{key}: {describe(item, depth - 1)}" for key, item in value.items()])
    if depth and isinstance(value, tuple | list):
        return _listed(kind, [describe(item, depth - 1) for item in value])
    return kind


def _listed(kind: str, parts: list[str]) -> str:
    most = 4
    more = f", and {len(parts) - most} more" if len(parts) > most else ""
    return f"{kind}({', '.join(parts[:most])}{more})"


def _is_data(value: Any, depth: int = 2) -> bool:
    if isinstance(value, torch.Tensor | np.ndarray | Image.Image):
        return True
    if not depth:
        return False
    if isinstance(value, Mapping):
        return any(_is_data(item, depth - 1) for item in value.values())
    if isinstance(value, tuple | list):
        return any(_is_data(item, depth - 1) for item in value[:4])
    return False


def _arguments(frame: FrameType) -> tuple[dict[str, str], bool]:
    """A call's arguments that are there, described, and whether any holds data."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    names = list(code.co_varnames[:count])
    values = {name: frame.f_locals[name] for name in names if name in frame.f_locals}
    rest = count
    if code.co_flags & CO_VARARGS:
        extra = frame.f_locals.get(code.co_varnames[rest], ())
        values |= {f"{code.co_varnames[rest]}[{n}]": item for n, item in enumerate(extra)}
        rest += 1
    if code.co_flags & CO_VARKEYWORDS:
        values |= frame.f_locals.get(code.co_varnames[rest], {})
    given = {
        name: value
        for name, value in values.items()
        if name not in ("self", "cls") and value is not None
    }
    data = any(_is_data(value) for value in given.values())
    return {name: describe(value, 1) for name, value in given.items()}, data


def _name(code: CodeType, owner: Any) -> str:
    if owner is not None:
        return f"{type(owner).__name__}.{code.co_name}"
    return code.co_name


def _caller(frame: FrameType | None) -> str:
    """The nearest caller that is not torch's own way of calling a module."""
    while frame is not None:
        path = _relative(frame.f_code.co_filename)
        if not path.startswith(("torch/", "transformers/utils/")):
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _relative(path: str) -> str:
    return _PACKAGE.sub(r"\1/", path.replace("\\", "/"), count=1)


def _definition_line(code: CodeType) -> int:
    """The line of ``def``, below the decorators that Python counts as the beginning."""
    line = code.co_firstlineno
    while (text := linecache.getline(code.co_filename, line).lstrip()) and not text.startswith(
        ("def ", "async def ")
    ):
        line += 1
    return line if text else code.co_firstlineno


def _nested(entries: list[_Entry]) -> Iterator[Call]:
    """Entries as calls; depth counts only those that are kept."""
    above: list[int] = []
    for entry in entries:
        while above and above[-1] >= entry.depth:
            above.pop()
        yield Call(
            depth=len(above),
            name=entry.name,
            module=entry.module,
            place=entry.place,
            called_from=entry.called_from,
            inputs=entry.inputs,
            outputs=entry.outputs,
            repeats=entry.repeats,
        )
        above.append(entry.depth)
