"""``secondsight benchmarks``: every benchmark and its options."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from secondsight.cli import options
from secondsight.cli.output import say, stdout

if TYPE_CHECKING:
    from secondsight.benchmarks import Benchmark


def benchmarks(plugin: options.Plugin = None, as_json: options.AsJson = False) -> None:
    """Every benchmark: what it asks, and its options with their defaults.

    [bold]Examples[/bold]

      [cyan]secondsight benchmarks[/cyan]
      [cyan]secondsight benchmarks --plugin mine.py --json[/cyan]

    An option is written as [cyan]--questions FILE[/cyan], or behind the name:
    [cyan]pope:parser=official,per_image=2[/cyan].
    """
    from secondsight.benchmarks.registry import BENCHMARKS
    from secondsight.cli.plugins import load_plugins

    load_plugins(plugin or ())
    loaded, broken = BENCHMARKS.entries()
    found = [described(benchmark) for benchmark in loaded.values()]
    for error in broken.values():
        say(f"warning: {error}")
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    console = stdout()
    for place, benchmark in enumerate(found):
        head = (benchmark["name"], "bold"), f"  {benchmark['summary']}"
        console.print(Text.assemble("\n" * bool(place), *head), highlight=False)
        console.print(_options(benchmark), highlight=False)


def described(benchmark: type[Benchmark]) -> dict[str, Any]:
    """A benchmark as plain data."""
    return {
        "name": benchmark.name,
        "title": benchmark.title or benchmark.name,
        "summary": inspect.cleandoc(benchmark.__doc__ or "").split("\n\n")[0].replace("\n", " "),
        "options": [
            {
                "name": field.name,
                "default": field.default,
                "help": field.metadata.get("help", ""),
                "choices": list(field.metadata.get("choices", ())),
            }
            for field in dataclasses.fields(benchmark)
        ],
    }


def _options(benchmark: dict[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for option in benchmark["options"]:
        notes = [option["help"]]
        if option["choices"]:
            notes.append(f"one of {', '.join(map(str, option['choices']))}")
        if option["default"] is not None:
            notes.append(f"left out: {option['default']}")
        grid.add_row(option["name"], Text("; ".join(notes)))
    return grid
