"""The root command: which commands there are, and what happens when something goes wrong."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer

from secondsight.cli import interrupts
from secondsight.cli.commands import Commands
from secondsight.cli.output import say
from secondsight.errors import UserError
from secondsight.installed import check

USER_ERROR = 2
BROKEN_PIPE = 141


class Root(Commands):
    """Runs a command; errors that a user can mend become a message and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with interrupts.RunningCommand() as command:
            try:
                result = super().invoke(ctx)
                sys.stdout.flush()  # a full disk or a closed pipe is met here, not at exit
                if command.interrupted:
                    raise KeyboardInterrupt  # it was swallowed on its way
                return result
            except BaseException as error:
                said = isinstance(error, typer.Exit) and error.exit_code == interrupts.EXIT_CODE
                if said:
                    raise
                # Whatever it is by now: an import that is interrupted may fail in its own way.
                if command.interrupted or isinstance(error, KeyboardInterrupt):
                    _fail("Interrupted.", interrupts.EXIT_CODE)
                _explain(error)
                raise


def _explain(error: BaseException) -> None:
    """End with a message where there is one; what is our own fault keeps its traceback."""
    if isinstance(error, UserError):
        _fail(str(error), USER_ERROR)
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        raise typer.Exit(BROKEN_PIPE) from None
    if isinstance(error, OSError) and error.strerror is not None:  # else a library's own
        what = f"{error.filename}: " if error.filename else ""
        _drop_stdout()
        _fail(f"{what}{error.strerror}.", USER_ERROR)
    if isinstance(error, ImportError) and not _ours(error):
        try:
            check()
        except UserError as known:
            _fail(str(known), USER_ERROR)
        _fail(
            f"{error}. Packages of this environment do not fit each other: 'secondsight doctor' "
            "lists them.",
            USER_ERROR,
        )
    if type(error).__name__ == "OutOfMemoryError":
        _fail(
            "The device's memory is full. Try a smaller --batch-size, --dtype bfloat16 or "
            "--device cpu; 'secondsight doctor' says what fits here.",
            USER_ERROR,
        )


def _ours(error: ImportError) -> bool:
    """Whether one of our own modules is missing, or a name in one."""
    return (error.name or "").partition(".")[0] == "secondsight"


def _fail(message: str, code: int) -> NoReturn:
    text = message if code == interrupts.EXIT_CODE else f"Error: {message}"
    for line in text.split("\n"):  # a list of what is wrong keeps its lines
        say(line)
    raise typer.Exit(code) from None


def _drop_stdout() -> None:
    """Let what is still unwritten go nowhere, so that the exit does not fail on it again."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):  # not a real file: a test's, or closed already
        pass


def _version(wanted: bool) -> None:
    if wanted:
        import secondsight

        typer.echo(f"secondsight {secondsight.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="secondsight",
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Vision-language models that look twice: decoding methods that make them hallucinate less.

    [bold]Start here[/bold]

      [cyan]secondsight describe[/cyan]                   a shipped image, by the shipped model
      [cyan]secondsight describe cat.jpg -q "What is on the sofa?" --method ritual[/cyan]
      [cyan]secondsight compare cat.jpg[/cyan]            every method beside its controls
      [cyan]secondsight COMMAND --help[/cyan]             options and examples of a command
    """


def main() -> None:
    """Run the command line, once Ctrl-C is looked after."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # the libraries' own remarks
        logging.getLogger("PIL").setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # an answer's characters may not fit a terminal
    try:
        app()
    except KeyboardInterrupt:  # between two of the above
        interrupts.leave()
