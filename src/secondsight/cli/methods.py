"""``secondsight methods``: every method, its parameters, their defaults, and where it is from."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from secondsight.cli import options
from secondsight.cli.output import stdout

if TYPE_CHECKING:
    from secondsight.methods import Method


def methods(plugin: options.Plugin = None, as_json: options.AsJson = False) -> None:
    """Every method: its parameters, their defaults and meaning, and the paper it is from.

    [bold]Examples[/bold]

      [cyan]secondsight methods[/cyan]
      [cyan]secondsight methods --json[/cyan]
      [cyan]secondsight methods --plugin mine.py[/cyan]

    A method with parameters is written [cyan]ritual:alpha=2,transform=hflip[/cyan]. Controls are
    there to be beaten: a gain that they show as well is not the method's.
    """
    from secondsight import methods as registry
    from secondsight.cli.plugins import load_plugins

    load_plugins(plugin or ())
    found = [described(registry.get(name)) for name in registry.names()]
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    console = stdout()
    table = Table(show_lines=True, expand=console.is_terminal)
    for column in ("method", "what it does", "parameters"):
        table.add_column(column, no_wrap=column == "method", overflow="fold")
    for method in found:
        table.add_row(_name(method), _purpose(method), _parameters(method))
    console.print(table, highlight=False)
    console.print("[dim]Written as[/dim] name:parameter=value,parameter=value", highlight=False)


def described(method: type[Method]) -> dict[str, Any]:
    """A method as plain data."""
    return {
        "name": method.name,
        "summary": inspect.cleandoc(method.__doc__ or "").split("\n\n")[0].replace("\n", " "),
        "source": method.source,
        "control": method.control,
        "parameters": [
            {
                "name": field.name,
                "default": field.default,
                "help": field.metadata.get("help", ""),
                "low": field.metadata.get("low"),
                "high": field.metadata.get("high"),
            }
            for field in _fields(method)
        ],
    }


def _fields(method: type[Method]) -> list[dataclasses.Field[Any]]:
    """The method's own parameters first; beta, which all have, last."""
    return sorted(dataclasses.fields(method), key=lambda field: field.name == "beta")


def _name(method: dict[str, Any]) -> Text:
    return Text.assemble(
        (method["name"], "bold"), ("\ncontrol" if method["control"] else "", "dim")
    )


def _purpose(method: dict[str, Any]) -> Text:
    return Text.assemble(
        method["summary"], (f"\n{method['source']}" if method["source"] else "", "dim")
    )


def _parameters(method: dict[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for parameter in method["parameters"]:
        grid.add_row(Text(f"{parameter['name']}={_short(parameter['default'])}"), parameter["help"])
    return grid


def _short(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
