"""The images that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from secondsight.errors import ImageError, UserError

Together = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files or URLs, shown to the model together and in this order; left out: the "
        "image that ships with secondsight.",
        metavar="IMAGE",
        show_default=False,
    ),
]
NoImage = Annotated[bool, typer.Option("--no-image", help="Ask without an image.")]


def named(images: Sequence[str] | None, no_image: bool) -> list[str]:
    """The images to look at: those named, or the one that ships with secondsight, or none.

    Raises:
        ImageError: A file is not there; a misspelt name is said at once, not after the answers
            about the images before it.
        UserError: Images are named, and none is wanted.
    """
    from secondsight.images import demo_image

    if no_image:
        if images:
            raise UserError("Name images or give --no-image, not both.")
        return []
    names = list(images or [str(demo_image())])
    for name in names:
        url = name.startswith(("http://", "https://"))
        if not url and not Path(name).expanduser().exists():
            raise ImageError(f"There is no image file {name!r}. Check the path.")
    return names


def as_field(names: Sequence[str]) -> str | list[str] | None:
    """Images' names as a record has them: one, several, or none."""
    return names[0] if len(names) == 1 else list(names) or None
