"""The verbs, each imported when it is used, so that ``secondsight --help`` stays quick."""

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
class Verb:
    """One verb of the command line.

    Attributes:
        name: What a user types.
        module: Its module in `secondsight.cli`.
        attribute: A command's function there, or a `typer.Typer`.
        summary: Its line in ``secondsight --help``.
        panel: Where it stands there.
        own_methods: Whether it takes method names, so that users' own must be known; True for
            verbs without an option ``--plugin``, which read ``SECONDSIGHT_PLUGINS`` themselves.
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
        """The verb as the root's help lists it."""
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


VERBS: Final = (
    Verb("describe", "describe", "describe", "Answer a question about images.", ASK),
    Verb(
        "compare",
        "compare",
        "compare",
        "All methods and their controls side by side on one image.",
        ASK,
    ),
    Verb("serve", "serve", "serve", "An OpenAI-compatible server, and a page in the browser.", ASK),
    Verb(
        "eval",
        "eval",
        "evaluate",
        "Run methods and controls on a benchmark: intervals and a verdict.",
        MEASURE,
        own_methods=True,
    ),
    Verb("score", "score", "app", "Score answers that anyone's code produced.", MEASURE),
    Verb(
        "pope-questions",
        "pope_questions",
        "pope_questions",
        "Build POPE questions from COCO-format annotations.",
        MEASURE,
    ),
    Verb(
        "stickers",
        "stickers",
        "app",
        "StickerScenes, the bundled model's world, as files.",
        MEASURE,
    ),
    Verb("bench", "bench", "bench", "Measure speed and memory.", MEASURE, own_methods=True),
    Verb("trace", "trace", "trace", "Every tensor from the pixels to the token.", INSIDE),
    Verb("verify", "verify", "verify", "Check a checkpoint against the original.", INSIDE),
    Verb("convert", "convert", "convert", "Rewrite an original checkpoint.", INSIDE),
    Verb("methods", "methods", "methods", "Every method, its parameters and source.", HELP),
    Verb("doctor", "doctor", "doctor", "What is installed, and what would run here.", HELP),
)
"""All verbs in the order of the help; those whose file this version lacks are left out."""


class Verbs(TyperGroup):
    """A group that lists its verbs without importing them."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self._verbs = {verb.name: verb for verb in VERBS if verb.exists}
        for verb in self._verbs.values():
            self.add_command(verb.listed())

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs in their order."""
        return list(self._verbs)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the verb, and only now import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, self._verbs[name].command() if name in self._verbs else command, rest


def _with_plugins(function: Any) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        from secondsight.cli.plugins import load_plugins

        load_plugins()
        return function(*args, **kwargs)

    return run
