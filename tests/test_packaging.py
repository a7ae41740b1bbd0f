"""What is installed: the wheel and the sdist, in an environment that has none of the sources."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from secondsight import extras

pytestmark = pytest.mark.slow  # it builds, and makes an environment

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "secondsight"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel."""
    [path] = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, and what it depends on from this one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    # A path in a .pth file adds the packages there, and not the editable install of this one.
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(run(python, "-c", query, cwd=folder).strip())
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; it must succeed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def shipped() -> set[str]:
    """The files of the package that git knows, as a wheel names them."""
    listed = run("git", "ls-files", "--cached", "--", "src/secondsight", cwd=ROOT)
    return {name.removeprefix("src/") for name in listed.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_has_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert shipped() <= names
    assert {name.partition("/")[0] for name in names} == {"secondsight"}
    assert "secondsight/py.typed" in names


def test_licences_are_shipped(wheel: Path) -> None:
    found = metadata(wheel)
    assert found["License-Expression"] == "Apache-2.0 AND MIT"
    licences = set(found.get_all("License-File") or ())
    assert licences == {
        "LICENSE",
        "NOTICE",
        "src/secondsight/benchmarks/stickers/art/LICENSE",
    }
    with zipfile.ZipFile(wheel) as archive:
        for name in licences:
            [path] = [one for one in archive.namelist() if one.endswith(f"licenses/{name}")]
            assert archive.read(path) == (ROOT / name).read_bytes()


def test_the_metadata_says_what_it_runs_on(wheel: Path) -> None:
    found = metadata(wheel)
    assert found["Requires-Python"] == ">=3.10"
    classifiers = found.get_all("Classifier") or []
    for minor in range(10, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    assert set(found.get_all("Provides-Extra") or ()) == {
        *extras.EXTRAS,
        "all",
        "dev",
        "docs",
    }


def test_the_sdist_has_what_builds_and_tests_it(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "Makefile", "docs/cli.md"):
        assert name in names
    assert "tests/test_packaging.py" in names
    assert {f"src/{name}" for name in shipped()} <= names


def test_the_installed_command_answers(installed: Path, tmp_path: Path) -> None:
    code = "import secondsight; print(secondsight.__file__)"
    where = Path(run(installed / "python", "-c", code, cwd=tmp_path).strip())
    assert installed.parent.resolve() in where.resolve().parents
    version = run(installed / "secondsight", "--version", cwd=tmp_path)
    assert version.split()[0] == "secondsight"
    answer = run(installed / "secondsight", "describe", "--max-new-tokens", "4", cwd=tmp_path)
    assert answer.strip()
    report = ["trace", "--out", "trace.html", "--max-new-tokens", "2"]
    run(installed / "python", "-m", "secondsight", *report, cwd=tmp_path)
    assert "<html" in (tmp_path / "trace.html").read_text(encoding="utf-8")
