"""Users' own methods, benchmarks and families on the command line, each from a file of theirs."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from secondsight.errors import UserError
from secondsight.registry import Registry

VARIABLE = "SECONDSIGHT_PLUGINS"
"""Environment variable: plug-in files, separated as in PATH."""


def load_plugins(files: Sequence[Path] = ()) -> None:
    """Import the files given and those that the environment names.

    Raises:
        UserError: A file is absent, fails, or registers nothing.
    """
    named = [Path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    for file in dict.fromkeys(path.expanduser().resolve() for path in (*named, *files)):
        _load(file)


def _load(file: Path) -> None:
    if not file.is_file():
        raise UserError(f"There is no plugin file {str(file)!r}. Check the path.")
    name = f"secondsight_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"The plugin {str(file)!r} is not a Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    before = _registered()
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"The plugin {str(file)!r}: {error}") from error
    except Exception as error:  # whatever a user's file does wrong, it is theirs to mend
        place = _line(error, file)
        raise UserError(
            f"The plugin {str(file)!r} fails{place}: {type(error).__name__}: {error}"
        ) from error
    if not any(before.get(key) is not one for key, one in _registered().items()):
        raise UserError(
            f"The plugin {str(file)!r} registers nothing: decorate a method's class with "
            "@secondsight.register('name'), or a benchmark or a family with its own register."
        )


def _registered() -> dict[tuple[str, str], object]:
    """What has been registered from outside this package, by kind and name."""
    return {
        (registry.kind, name): entry
        for registry in Registry.all
        for name, entry in registry.registered.items()
        if not entry[1][0].startswith("secondsight.")
    }


def _line(error: Exception, file: Path) -> str:
    """The last line of the user's own file that an error passed through."""
    if isinstance(error, SyntaxError):
        return f" in line {error.lineno}"
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            place = f" in line {trace.tb_lineno}"
        trace = trace.tb_next
    return place
