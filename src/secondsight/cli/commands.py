"""The commands, each imported when it is used, so that ``secondsight --help`` stays quick."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

ASK, MEASURE, INSIDE, HELP = "Ask", "Measure", "Look inside", "Find out"


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        name: What a user types.
        module: Its module in `secondsight.cli`.
        attribute: A command's function there, or a `typer.Typer`.
        summary: Its line in ``secondsight --help``.
        panel: Where it stands there.
        own_methods: Whether it takes method names, so that users' own must be known; True for
            commands without an option ``--plugin``, which read ``SECONDSIGHT_PLUGINS`` themselves.
    """

    name: str
    module: str
    attribute: str
    summary: str
    panel: str
    own_methods: bool = False

    @property
    def exists(self) -> bool:
        """Whether this version has it."""
        return find_spec(f"secondsight.cli.{self.module}") is not None

    def listed(self) -> TyperCommand:
        """The command as the root's help lists it."""
        return TyperCommand(
            self.name,
            help=self.summary,
            rich_help_panel=self.panel,
            rich_markup_mode="rich",
        )

    def command(self) -> Any:
        """The command itself."""
        target = getattr(import_module(f"secondsight.cli.{self.module}"), self.attribute)
        if not isinstance(target, typer.Typer):
            app = typer.Typer(rich_markup_mode="rich", add_completion=False)
            function = _with_plugins(target) if self.own_methods else target
            app.command(self.name)(function)
            target = app
        command = typer.main.get_command(target)
        command.name = self.name
        return command


COMMANDS: Final = (
    Command("describe", "describe", "describe", "Answer a question about images.", ASK),
    Command("caption", "caption", "caption", "Caption or question whole buckets of images.", ASK),
    Command(
        "compare",
        "compare",
        "compare",
        "All methods and their controls side by side on one image.",
        ASK,
    ),
    Command(
        "serve", "serve", "serve", "An OpenAI-compatible server, and a page in the browser.", ASK
    ),
    Command(
        "eval",
        "eval",
        "evaluate",
        "Run methods and controls on a benchmark: intervals and a verdict.",
        MEASURE,
    ),
    Command("score", "score", "score", "Score answers that anyone's code produced.", MEASURE),
    Command(
        "pope-questions",
        "pope_questions",
        "pope_questions",
        "Build POPE questions from COCO-format annotations.",
        MEASURE,
    ),
    Command(
        "stickers",
        "stickers",
        "app",
        "StickerScenes, the bundled model's world, as files.",
        MEASURE,
    ),
    Command(
        "calibrate",
        "calibrate",
        "calibrate",
        "What a model's yes and no about its own answers mean.",
        MEASURE,
    ),
    Command("bench", "bench", "bench", "Measure speed and memory.", MEASURE, own_methods=True),
    Command("trace", "trace", "trace", "Every tensor from the pixels to the token.", INSIDE),
    Command("verify", "verify", "verify", "Check a checkpoint against the original.", INSIDE),
    Command("convert", "convert", "convert", "Rewrite an original checkpoint.", INSIDE),
    Command("methods", "methods", "methods", "Every method, its parameters and source.", HELP),
    Command("benchmarks", "benchmarks", "benchmarks", "Every benchmark and its options.", HELP),
    Command("doctor", "doctor", "doctor", "What is installed, and what would run here.", HELP),
)
"""All commands in the order of the help; those whose file this version lacks are left out."""


class Commands(TyperGroup):
    """A group that lists its commands without importing them."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self._commands = {command.name: command for command in COMMANDS if command.exists}
        for command in self._commands.values():
            self.add_command(command.listed())

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in their order."""
        return list(self._commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command, and only now import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, self._commands[name].command() if name in self._commands else command, rest


def _with_plugins(function: Any) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        from secondsight.cli.plugins import load_plugins

        load_plugins()
        return function(*args, **kwargs)

    return run
