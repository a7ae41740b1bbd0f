"""The root command: help, version, and ends that are not the commands' own."""

import os
import sys

import pytest

import secondsight
from secondsight.cli.commands import COMMANDS, Commands
from support import process as children

EXISTING = [command for command in COMMANDS if command.exists]


def test_the_verbs_of_the_design_are_there(run) -> None:
    result = run("--help")
    assert result.code == 0
    for name in ("describe", "compare", "eval", "score", "methods", "doctor"):
        assert f" {name} " in result.out
    assert "secondsight describe" in result.out


@pytest.mark.parametrize("command", EXISTING, ids=lambda command: command.name)
def test_every_verb_teaches(run, command) -> None:
    result = run(command.name, "--help")
    assert result.code == 0
    assert f"Usage: secondsight {command.name}" in result.out
    assert "--help" in result.out


@pytest.mark.parametrize("name", ["describe", "compare", "methods", "doctor"])
def test_help_has_examples_that_parse(run, name: str) -> None:
    text = run(name, "--help").out
    assert "Examples" in text
    assert f"secondsight {name}" in text.partition("Examples")[2]


def test_help_is_quick_because_it_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from secondsight.cli.main import app\n"
        "for args in (['--help'], ['describe', '--help'], ['compare', '--help'], ['--version'],\n"
        "             ['methods', '--help'], ['doctor', '--help']):\n"
        "    assert CliRunner().invoke(app, args).exit_code == 0\n"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])\n"
    )
    done = children.run([sys.executable, "-c", code])
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_version(run) -> None:
    assert run("--version").out == f"secondsight {secondsight.__version__}\n"


def test_public_names_are_imported_when_asked_for() -> None:
    for name in secondsight.__all__:
        assert getattr(secondsight, name) is not None
    assert set(secondsight.__all__) <= set(dir(secondsight))
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        secondsight.lod  # noqa: B018


@pytest.mark.parametrize(
    ("error", "code", "named"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (OSError(28, "No space left on device", "/a/file"), 2, "/a/file: No space left on device"),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), 2, "--dtype bfloat16"),
    ],
)
def test_ends(run, monkeypatch, error: BaseException, code: int, named: str) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(Commands, "invoke", fail)
    result = run("methods")
    assert result.code == code
    assert named in result.err


def test_what_is_our_own_fault_keeps_its_traceback(run, monkeypatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Commands, "invoke", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run("methods")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_closed_pipe_and_a_full_disk_behind_stdout(start) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        start("methods", "--json", stdout=writing) as process,
        open("/dev/full", "w") as full,  # noqa: PTH123
        start("methods", "--json", stdout=full) as other,
    ):
        os.close(writing)
        _, err = process.communicate(timeout=300)
        _, other_err = other.communicate(timeout=300)
    assert (process.returncode, err) == (141, "")
    assert other.returncode == 2
    assert other_err == "Error: No space left on device.\n"


@pytest.mark.parametrize(
    ("words", "completed"),
    [("secondsight des", "describe"), ("secondsight describe --max-n", "--max-new-tokens")],
)
def test_shell_completion_of_commands_and_options(words: str, completed: str) -> None:
    request = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    named = "import sys; sys.argv[0] = 'secondsight'; from secondsight.cli import main; main()"
    done = children.run(
        [sys.executable, "-c", named],
        env={"_SECONDSIGHT_COMPLETE": "complete_bash", **request},
    )
    assert (done.stdout.split(), done.stderr) == ([completed], "")
