"""Packages of the wrong version: one line that names them, and a doctor that still runs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from support import process

BUNDLED = Path(__file__).parents[1] / "src" / "secondsight" / "checkpoints" / "bundled"
CLI = [sys.executable, "-m", "secondsight"]


@pytest.fixture
def other(tmp_path: Path) -> dict[str, str]:
    """An environment in which another transformers stands first on the path."""
    package = tmp_path / "transformers"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '4.57.1'\n")
    metadata = tmp_path / "transformers-4.57.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: transformers\nVersion: 4.57.1\n"
    )
    return {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}


def test_a_command_names_the_package_and_the_versions_that_are_right(other) -> None:
    done = process.run([*CLI, "describe"], env=other)
    assert done.returncode == 2
    assert done.stdout == ""
    text = " ".join(done.stderr.split())
    assert text.startswith("Error: transformers 4.57.1 is installed, and >=5.20,<6 is needed.")
    assert "pip install" in text


def test_doctor_runs_and_says_it(other) -> None:
    done = process.run([*CLI, "doctor", "--json"], env=other)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["versions"]["transformers"] == "4.57.1"
    assert report["problems"] == ["transformers 4.57.1 is installed, and >=5.20,<6 is needed"]
    assert report["bundled_model"]["loads"] is False
    assert "transformers 4.57.1" in report["bundled_model"]["error"]


@pytest.mark.parametrize("name", ["load", "Model", "decode"])
def test_python_gets_an_error_that_is_a_users_and_an_import_error(other, name: str) -> None:
    code = (
        "import secondsight\n"
        f"try: secondsight.{name}\n"
        "except secondsight.UserError as error: print(isinstance(error, ImportError), error)\n"
    )
    done = process.run([sys.executable, "-c", code], env=other)
    assert done.stdout.startswith("True transformers 4.57.1 is installed"), done.stderr


def test_libraries_that_do_not_import_are_one_line(tmp_path: Path) -> None:
    """As when huggingface_hub was downgraded: transformers itself refuses to be imported."""
    package = tmp_path / "transformers"
    package.mkdir()
    (package / "__init__.py").write_text(
        "raise ImportError('huggingface-hub>=1.0 is required, but found 0.36')\n"
    )
    env = {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}
    done = process.run([*CLI, "describe"], env=env)
    assert done.returncode == 2
    text = " ".join(done.stderr.split())
    assert text.startswith("Error: huggingface-hub>=1.0 is required, but found 0.36.")
    assert "secondsight doctor" in text
    report = json.loads(process.run([*CLI, "doctor", "--json"], env=env).stdout)
    assert any("huggingface-hub>=1.0" in problem for problem in report["problems"])


@pytest.fixture
def clash(tmp_path: Path) -> dict[str, str]:
    """A sentencepiece of a newer protobuf, and a package that wants an older one."""
    package = tmp_path / "sentencepiece"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sentencepiece_model_pb2.py").write_text(
        "from google.protobuf.runtime_version import Domain, ValidateProtobufRuntimeVersion\n"
        "ValidateProtobufRuntimeVersion(Domain.PUBLIC, 99, 1, 2, '', 'sentencepiece_model.proto')\n"
    )
    for name, asked in (("greedy", "protobuf (<99,>=3)"), ("modest", "protobuf>=3")):
        metadata = tmp_path / f"{name}-1.5.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\nRequires-Dist: {asked}\n"
        )
    return {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}


def test_a_protobuf_that_is_held_back_is_named(clash, tmp_path: Path) -> None:
    """The bundled model does not need it; a folder with a tokenizer.model alone does."""
    done = process.run([*CLI, "doctor", "--json"], env=clash)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bundled_model"]["loads"] is True
    [problem] = report["problems"]
    assert problem.startswith(f"protobuf {report['versions']['protobuf']} is installed, and ")
    assert "99.1.2 or newer to read a tokenizer.model (greedy 1.5 wants protobuf<99,>=3)" in problem
    assert 'pip install "sentencepiece<' in problem

    folder = shutil.copytree(BUNDLED, tmp_path / "pieces")
    (folder / "tokenizer.json").unlink()
    image = tmp_path / "image.png"
    Image.new("RGB", (8, 8)).save(image)
    done = process.run([*CLI, "describe", image, "-m", folder], env=clash)
    assert done.returncode == 2
    assert problem in " ".join(done.stderr.split())
