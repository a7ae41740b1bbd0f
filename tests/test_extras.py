"""The core without its extras: what answers, and what each command says it lacks."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import secondsight
from secondsight import extras
from support import process

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = sorted({module for modules in extras.EXTRAS.values() for module in modules})
BLOCKED = f"import sys\nfor name in {OPTIONAL}:\n    sys.modules[name] = None\n"
CLI = BLOCKED + "from secondsight.cli import main\nsys.argv[0] = 'secondsight'\nmain()\n"


def python(code: str, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in an interpreter that has none of the optional packages."""
    return process.run([sys.executable, "-c", code, *args], cwd=cwd)


def test_the_names_are_those_of_the_package() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(extras.EXTRAS) == set(project["optional-dependencies"]) - {"all", "dev", "docs"}


def test_the_core_answers_without_any_extra(tmp_path: Path) -> None:
    code = """
import secondsight
from secondsight import *

model = secondsight.load()
image = secondsight.demo_image()
for method in ("regular", "ritual", "vcd", "m3id"):
    assert model.answer(image, "Is there a dog?", method, max_new_tokens=2).ids
assert "".join(model.stream(image, "Is there a dog?", max_new_tokens=2)) is not None
"""
    done = python(BLOCKED + code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["describe", "--max-new-tokens", "2"],
        ["compare", "--max-new-tokens", "2"],
        ["methods"],
    ],
    ids=lambda args: args[0],
)
def test_commands_of_the_core(args: list[str], tmp_path: Path) -> None:
    done = python(CLI, *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("extra", "named", "args"),
    [
        (
            "eval",
            "inflect, jsonschema, matplotlib, scipy, statsmodels, which are",
            ["eval", "pope"],
        ),
        ("trace", "inflect, which is", ["trace"]),
        ("eval", "matplotlib, which is", ["bench", "--plot", "costs.svg"]),
        ("quantize", "bitsandbytes, which is", ["describe", "--load-in-8bit"]),
    ],
    ids=["eval", "trace", "bench", "quantize"],
)
def test_a_command_names_what_installs_its_extra(
    extra: str, named: str, args: list[str], tmp_path: Path
) -> None:
    done = python(CLI, *args, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert f'{named} not installed: pip install "secondsight[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_python_names_it_too(tmp_path: Path) -> None:
    code = """
import secondsight
from secondsight.errors import UserError

try:
    secondsight.load().trace(secondsight.demo_image(), "Is there a dog?")
except UserError as error:
    assert 'pip install "secondsight[trace]"' in str(error)
else:
    raise AssertionError
try:
    from secondsight.benchmarks import runner
except ImportError as error:
    assert isinstance(error, UserError)
    assert 'pip install "secondsight[eval]"' in str(error)
else:
    raise AssertionError
"""
    done = python(BLOCKED + code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_an_import_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with (
        pytest.raises(extras.MissingPackageError, match="A test needs scipy") as caught,
        extras.needed("eval", "A test"),
    ):
        importlib.import_module("scipy")
    assert isinstance(caught.value, secondsight.UserError)
    with pytest.raises(ModuleNotFoundError), extras.needed("trace", "A test"):
        importlib.import_module("scipy")  # no package of that extra: an error of ours
