"""Running the command line, in this process and in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from secondsight.cli.main import app
from support import process

MAIN = "from secondsight.cli import main; main()"


class Finished:
    """What a run came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Finished]


@pytest.fixture
def run() -> Run:
    """Runs ``secondsight`` with arguments; it must not fail in any way but a clean exit."""

    def run(*args: Any, stdin: str | bytes | None = None) -> Finished:
        arguments = [str(arg) for arg in args]
        result = CliRunner().invoke(app, arguments, input=stdin, prog_name="secondsight")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Finished(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts ``secondsight`` as a process of its own."""

    def start(*args: Any, **options: Any) -> subprocess.Popen[str]:
        return process.start([sys.executable, "-c", MAIN, *args], **options)

    return start


@pytest.fixture
def image_files(
    tmp_path: Path, make_image: Callable[..., Image.Image]
) -> Callable[[int], list[Path]]:
    """Writes image files and returns their paths."""

    def write(count: int) -> list[Path]:
        paths = [tmp_path / f"image{number}.png" for number in range(count)]
        for number, path in enumerate(paths):
            make_image(number).save(path)
        return paths

    return write


@pytest.fixture
def pictures(image_files: Callable[[int], list[Path]]) -> Callable[[int], list[Path]]:
    """`image_files` by its former name."""
    return image_files
