"""The public names, the type marker, and what importing does."""

from __future__ import annotations

import sys
from importlib import resources

import pytest

import secondsight
from support import process


def test_every_public_name_is_there() -> None:
    assert len(set(secondsight.__all__)) == len(secondsight.__all__)
    for name in secondsight.__all__:
        assert getattr(secondsight, name) is not None
    for name in ("load", "decode", "tokenize_with_images", "Method", "register"):
        assert name in secondsight.__all__
    assert set(secondsight.__all__) <= set(dir(secondsight))


def test_python_runs_the_package_as_the_command_line() -> None:
    done = process.run([sys.executable, "-m", "secondsight", "--version"])
    assert secondsight.__version__ in done.stdout


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = secondsight.nonsense  # type: ignore[attr-defined]


def test_types_are_shipped() -> None:
    assert resources.files("secondsight").joinpath("py.typed").is_file()


def test_importing_is_quiet_and_touches_no_network() -> None:
    code = "import socket; socket.socket.connect = None; from secondsight import *; load"
    done = process.run([sys.executable, "-W", "error::SyntaxWarning", "-c", code])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_our_own_code_is_warned_of_nothing() -> None:
    code = """
import importlib, pkgutil, warnings

warnings.filterwarnings("error", module=r"secondsight(\\.|$)")
import secondsight

elsewhere = ("__main__", "integrations.lmms_eval")  # a program, and what lmms-eval imports
for module in pkgutil.walk_packages(secondsight.__path__, "secondsight."):
    if not module.name.endswith(elsewhere):
        importlib.import_module(module.name)
"""
    done = process.run([sys.executable, "-W", "error::SyntaxWarning", "-c", code])
    assert done.returncode == 0, done.stderr
