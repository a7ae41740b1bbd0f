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
HIDDEN = [*OPTIONAL, "sklearn"]  # which needs scipy; tests bring it, and transformers tries it
BLOCKED = f"import sys\nfor name in {HIDDEN}:\n    sys.modules[name] = None\n"
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
        ["describe", "--doubts", "--max-new-tokens", "20"],
        ["trace", "--max-new-tokens", "2"],
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
            "jsonschema, matplotlib, scipy, statsmodels, which are",
            ["eval", "pope"],
        ),
        ("eval", "matplotlib, which is", ["bench", "--plot", "costs.svg"]),
        ("quantize", "bitsandbytes, which is", ["describe", "--load-in-8bit"]),
    ],
    ids=["eval", "bench", "quantize"],
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


WITH_ONE: dict[str, str] = {
    "eval": "from secondsight.benchmarks import plots, report, runner, statistics",
    "serve": "import secondsight.server.run",
    "bulk": "import fsspec, pyarrow.parquet, secondsight.bulk.parquet, secondsight.bulk.storage",
    "ray": "import ray, secondsight.bulk.ray",
    "agla": "import scipy.ndimage\nfrom secondsight.methods import create\ncreate('agla')",
    "nouns": "import spacy, secondsight.benchmarks.amber_words",
    "lora": "import peft, secondsight.checkpoints.lora",
    "quantize": "from secondsight.checkpoints.placement import placement\n"
    "placement('cpu', 'auto', load_in_8bit=True)",
    "smolvlm": "import num2words",
}
"""What an extra is for, in so far as it can be tried in a moment."""


def test_every_extra_is_tried_alone() -> None:
    assert WITH_ONE.keys() == extras.EXTRAS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("extra", WITH_ONE)
def test_an_extra_is_enough_by_itself(extra: str, tmp_path: Path) -> None:
    if lacking := extras.missing(extra):
        pytest.skip(f"{', '.join(lacking)} not installed")
    brought = {"fsspec", *(["jsonschema"] if extra == "ray" else [])}  # by torch, and by Ray
    others = sorted(set(OPTIONAL) - {*brought, *extras.EXTRAS[extra]})
    blocked = f"import sys\nfor name in {others}:\n    sys.modules[name] = None\n"
    done = python(blocked + WITH_ONE[extra], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_python_names_it_too(tmp_path: Path) -> None:
    code = """
import secondsight
from secondsight.errors import UserError

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
    with pytest.raises(ModuleNotFoundError), extras.needed("bulk", "A test"):
        importlib.import_module("scipy")  # no package of that extra: an error of ours
