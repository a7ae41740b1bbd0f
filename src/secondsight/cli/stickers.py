"""``secondsight stickers``: the sticker world on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="stickers", help="StickerScenes: a small world whose truth is known.", no_args_is_help=True
)


@app.callback()
def stickers() -> None:
    """StickerScenes: a small world whose truth is known."""


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(help="Folder to write to; made if absent.")],
    split: Annotated[
        list[str] | None,
        typer.Option(help="train, val, test, conflict or hard; may be given several times."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Scenes per split, from the first. Default: all.")
    ] = None,
    image_format: Annotated[
        str, typer.Option("--format", help="Format of the images: png or jpg.")
    ] = "png",
    seed: Annotated[int, typer.Option(help="Seed of POPE's draws.")] = 0,
) -> None:
    """Write images, COCO instances and captions, POPE question files and MME-style folders.

    Example: secondsight stickers export scenes --split test --split hard --count 100
    """
    from secondsight.benchmarks.stickers import SPLIT_SIZES, export_split

    splits = split or ["test", "conflict", "hard"]
    sizes = {name: SPLIT_SIZES[name] for name in splits if name in SPLIT_SIZES}
    for name in splits:
        size = sizes.get(name)
        if name not in sizes:
            raise typer.BadParameter(f"unknown split {name!r}; there are {', '.join(SPLIT_SIZES)}")
        if count and size and count > size:
            raise typer.BadParameter(f"split {name!r} has {size} scenes, fewer than {count}")
    if image_format not in ("png", "jpg"):
        raise typer.BadParameter(f"unknown image format {image_format!r}: png or jpg")
    for name in splits:
        try:
            typer.echo(export_split(directory, name, count=count, suffix=image_format, seed=seed))
        except OSError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from error
