"""``secondsight verify``: whether a LLaVA-1.5 computes what the original code computed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from secondsight.cli import options
from secondsight.cli.loading import Loading, loads_a_model
from secondsight.cli.output import say, stdout


@loads_a_model(without=["preset"])
def verify(
    model: Annotated[str, typer.Argument(help="LLaVA-1.5-7B: folder or hub id, either layout.")],
    image: Annotated[
        Path | None,
        typer.Option(help="The reference's image; left out, it is fetched from its address."),
    ] = None,
    reference: Annotated[
        str, typer.Option(help="llava-v1.5-7b, or a JSON file with another checkpoint's numbers.")
    ] = "llava-v1.5-7b",
    as_json: options.AsJson = False,
    *,
    loading: Loading,
) -> None:
    """Check a LLaVA-1.5-7B against the numbers that the original code was seen to compute.

    [bold]Examples[/bold]

      [cyan]secondsight verify liuhaotian/llava-v1.5-7b[/cyan]
      [cyan]secondsight verify ./llava-v1.5-7b --image COCO_val2014_000000324158.jpg[/cyan]

    Configuration, the prompt's ids, the pixels, the image's features before and after the
    projector, and the language model's input. The exit code is 1 if anything differs.
    """
    from secondsight.checkpoints import verify as checking

    expected = checking.reference(reference)
    checks = checking.verify(loading.load(), expected, image)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        console = stdout()
        table = Table("check", "expected", "found", "")
        for check in checks:
            verdict = "[green]pass[/green]" if check.passed else "[red]FAIL[/red]"
            table.add_row(check.name, check.expected, check.found, verdict)
        console.print(table)
    failed = sum(not check.passed for check in checks)
    if failed:
        say(f"{failed} of {len(checks)} checks failed: this is not {expected['name']} as it was.")
        raise typer.Exit(1)
    say(f"All {len(checks)} checks passed.")
