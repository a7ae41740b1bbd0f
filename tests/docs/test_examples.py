"""Every example of the documentation: Python runs or compiles, commands run or at least parse."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import secondsight
from secondsight.cli.main import app
from support import markdown, process
from support.markdown import ROOT, Block, Command

PYTHON = [block for block in markdown.blocks() if block.kind.startswith("python")]
RUN = [block for block in PYTHON if block.page == "README.md" or "runnable" in block.kind]
COMMANDS = list(dict.fromkeys(markdown.commands()))
README = [command for command in COMMANDS if command.block.page == "README.md"]

SHORTER = {
    "describe": ("--max-new-tokens", "4"),
    "compare": ("--max-new-tokens", "4"),
    "trace": ("--max-new-tokens", "2"),
    "eval": ("--limit", "2"),
}
"""What is added to a command so that its test takes seconds."""
LONG = {"bench", "serve", "cluster"}
"""Verbs that take minutes or run until they are stopped: their examples are parsed only."""


@pytest.mark.parametrize("block", RUN, ids=str)
def test_python_runs(block: Block, tmp_path: Path) -> None:
    done = process.run([sys.executable, "-c", block.text], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_is_at_least_python(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples are about, as the current one."""
    image = Image.open(secondsight.demo_image()).convert("RGB")
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "before.jpg", "after.jpg", "photos/cat.jpg"):
        image.save(tmp_path / name)
    (tmp_path / "images.jsonl").write_text('{"image": "cat.jpg"}\n{"image": "after.jpg"}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_commands_parse(command: Command, files: Path) -> None:
    parse(typer.main.get_command(app), list(command.words))


def parse(command: Any, words: list[str], parent: Any = None) -> None:
    """Parse a command line as running it would, into the last of its commands."""
    name, *rest = words
    if not hasattr(command, "resolve_command"):
        command.make_context(name, rest, parent=parent)
        return
    with command.make_context(name, rest, parent=parent, resilient_parsing=not rest) as context:
        words = [*context._protected_args, *context.args]
        if words:
            found, inner, remaining = command.resolve_command(context, words)
            parse(inner, [str(found), *remaining], context)


@pytest.mark.parametrize(
    "command",
    [one for one in README if not one.downloads and one.words[1] not in LONG],
    ids=str,
)
def test_readmes_commands_run(command: Command, files: Path) -> None:
    _, verb, *rest = command.words
    words = [verb, *rest, *SHORTER.get(verb, ())]
    result = CliRunner().invoke(app, words, prog_name="secondsight")
    assert result.exit_code == 0, result.output
    for option in ("--out",):
        if option in rest:
            assert (files / rest[rest.index(option) + 1]).exists()


def test_readmes_other_commands_are_known() -> None:
    """What is not ours: a target of the Makefile, or an installation of this package."""
    makefile = (ROOT / "Makefile").read_text()
    others = []
    for block in markdown.blocks("README.md"):
        if block.kind == "bash":
            lines = (line.partition("#")[0].strip() for line in block.text.splitlines())
            others += [line for line in lines if line and not line.startswith("secondsight ")]
    assert others
    for line in others:
        target = re.fullmatch(r"make (\w+)", line)
        if target:
            assert f"\n{target[1]}:" in makefile
        else:
            assert line.startswith("pip install "), line
