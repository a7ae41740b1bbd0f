"""What is optional: packages that only some tasks need, and the command that installs them.

Loading a model and answering need none of them. The names are those of the extras in
``pyproject.toml``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from secondsight.errors import UnsupportedError

EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "eval": ("jsonschema", "matplotlib", "scipy", "statsmodels"),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "python_multipart"),
    "bulk": ("fsspec", "pyarrow"),
    "ray": ("ray",),
    "agla": ("scipy",),
    "nouns": ("spacy",),
    "lora": ("peft",),
    "quantize": ("bitsandbytes",),
    "smolvlm": ("num2words",),
}
"""Each extra, and the modules that it brings."""


class MissingPackageError(UnsupportedError, ImportError):
    """Something was asked for that needs a package which is not installed."""


def command(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "secondsight[{extra}]"'


def missing(extra: str) -> list[str]:
    """The modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if find_spec(module) is None]


def require(extra: str, what: str, *modules: str) -> None:
    """Check, before anything long begins, that an extra is installed.

    Args:
        extra: The extra.
        what: What needs it, to begin the error message with.
        modules: Those of its modules that are needed; all of them if left out.

    Raises:
        MissingPackageError: A package of it is not installed.
    """
    lacking = [module for module in missing(extra) if module in modules or not modules]
    if lacking:
        raise MissingPackageError(_message(extra, what, lacking))


@contextmanager
def needed(extra: str, what: str) -> Iterator[None]:
    """Name the extra if an import inside fails for want of one of its packages.

    Args:
        extra: The extra.
        what: What needs it, to begin the error message with.

    Raises:
        MissingPackageError: The package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS[extra]:
            raise
        raise MissingPackageError(_message(extra, what, [package])) from error


def _message(extra: str, what: str, modules: Sequence[str]) -> str:
    verb = "is" if len(modules) == 1 else "are"
    return f"{what} needs {', '.join(modules)}, which {verb} not installed: {command(extra)}"
