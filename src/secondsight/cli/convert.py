"""``secondsight convert``: LLaVA-1.5 between the original layout and Hugging Face's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondsight.cli.output import say


def convert(
    source: Annotated[str, typer.Argument(help="Folder or hub id, in either layout.")],
    destination: Annotated[Path, typer.Argument(help="New folder for the other layout.")],
    vision_tower: Annotated[
        str | None,
        typer.Option(help="CLIP tower of an original checkpoint: folder or hub id."),
    ] = None,
) -> None:
    """LLaVA-1.5 from the original layout to Hugging Face's, or back, bit for bit.

    [bold]Examples[/bold]

      [cyan]secondsight convert liuhaotian/llava-v1.5-7b llava-hf-layout[/cyan]
      [cyan]secondsight convert llava-hf-layout llava-original-layout[/cyan]

    Every tensor is read back and compared with its source. Nothing is overwritten; an interrupted
    conversion goes on where it stopped when the same command is given again.
    """
    from secondsight.checkpoints.convert import convert as run

    done = run(
        source, destination, vision_tower=vision_tower, progress=lambda name: say(f"  {name}")
    )
    resumed = f", {done.resumed} files from an earlier run" if done.resumed else ""
    layout = {"hf": "Hugging Face", "original": "original"}[done.layout]
    typer.echo(
        f"{done.folder}: {layout} layout, {done.tensors} tensors, each equal to its source"
        f"{resumed}."
    )
