"""The public names, the type marker, and the README's own examples."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import secondsight

ROOT = Path(__file__).resolve().parents[1]


def test_every_public_name_is_there() -> None:
    assert len(set(secondsight.__all__)) == len(secondsight.__all__)
    for name in secondsight.__all__:
        assert getattr(secondsight, name) is not None
    for name in ("load", "decode", "tokenize_with_images", "Ritual", "VCD", "M3ID", "register"):
        assert name in secondsight.__all__
    assert set(secondsight.__all__) <= set(dir(secondsight))


def test_python_runs_the_package_as_the_command_line() -> None:
    command = [sys.executable, "-m", "secondsight", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert secondsight.__version__ in done.stdout


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = secondsight.nonsense  # type: ignore[attr-defined]


def test_types_are_shipped() -> None:
    assert resources.files("secondsight").joinpath("py.typed").is_file()


def test_importing_is_quiet_and_touches_no_network() -> None:
    code = "import socket; socket.socket.connect = None; from secondsight import *; load"
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_our_own_code_is_warned_of_nothing() -> None:
    code = """
import importlib, pkgutil, warnings

warnings.filterwarnings("error", module=r"secondsight(\\.|$)")
import secondsight

for module in pkgutil.walk_packages(secondsight.__path__, "secondsight."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def blocks() -> list[tuple[str, str]]:
    """The Python examples of README and docs that say they can be run: ``python runnable``."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for match in re.finditer(r"```python([^\n]*)\n(.*?)```", text, re.DOTALL):
                if "runnable" in match[1]:
                    found.append(
                        (f"{path.name}:{text[: match.start()].count(chr(10)) + 1}", match[2])
                    )
    return found


@pytest.mark.parametrize("example", blocks(), ids=lambda example: example[0])
def test_examples_run(example: tuple[str, str], tmp_path: Path) -> None:
    from secondsight.checkpoints.loading import bundled_folder

    if not (bundled_folder() / "model.safetensors").is_file():
        pytest.skip("the bundled model is not there yet (training/ makes it)")
    done = subprocess.run(
        [sys.executable, "-c", example[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["README.md", "docs"])
def test_python_examples_are_at_least_python(path: str) -> None:
    files = [ROOT / path] if path.endswith(".md") else sorted((ROOT / path).glob("**/*.md"))
    for file in files:
        if file.is_file():
            for code in re.findall(r"```python[^\n]*\n(.*?)```", file.read_text(), re.DOTALL):
                compile(code, str(file), "exec")
