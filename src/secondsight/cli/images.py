"""The images that a command line names."""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from secondsight.errors import ImageError, UserError
from secondsight.files import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from PIL import Image

STDIN: Final = "-"
"""Names standard input."""

Together = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files or URLs, or - for standard input, shown to the model together and in this "
        "order; left out: the image that ships with secondsight.",
        metavar="IMAGE",
        show_default=False,
    ),
]
NoImage = Annotated[bool, typer.Option("--no-image", help="Ask without an image.")]


def named(images: Sequence[str] | None, no_image: bool, *, folders: bool = False) -> list[str]:
    """The images to look at: those named, or the one that ships with secondsight, or none.

    Args:
        images: What the command line names.
        no_image: Whether it asks for none.
        folders: Whether a folder stands for the images in it, and a pattern such as ``a/*.png``
            for the files that it matches.

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
    if not images:
        return [str(demo_image())]
    if list(images).count(STDIN) > 1:
        raise UserError("Standard input (-) can be read once. Name it once.")
    found = [one for name in images for one in (_found(name) if folders else [name])]
    for name in found:
        _refuse_absent(name)
    return found


def opened(names: Sequence[str]) -> list[Image.Image] | None:
    """The named images, opened; None for no image.

    Raises:
        ImageError: One of them cannot be used.
    """
    return [open_named(name) for name in names] or None


def open_named(name: str) -> Image.Image:
    """Open an image that the command line names.

    Raises:
        ImageError: It cannot be used.
    """
    from secondsight.images import open_image
    from secondsight.sources import read_bytes

    if name != STDIN:
        return open_image(name)
    if sys.stdin is None or sys.stdin.isatty():
        raise ImageError("Nothing comes by standard input (-): write 'secondsight ... - < FILE'.")
    return open_image(read_bytes(sys.stdin.buffer))


def as_field(names: Sequence[str]) -> str | list[str] | None:
    """Images' names as a record has them: one, several, or none."""
    return names[0] if len(names) == 1 else list(names) or None


def elsewhere(name: str) -> bool:
    """Whether a name is a URL or holds the image itself, and so is no path."""
    return name[:8].lower().startswith(("http://", "https://", "file://", "data:"))


def _found(name: str) -> list[str]:
    """The files that a folder or a pattern stands for; any other name itself."""
    from secondsight.images import short_name

    if name == STDIN or elsewhere(name):
        return [name]
    path = _path(name)
    try:
        if path.is_dir():
            files = [str(one) for one in path.iterdir() if _is_image(one)]
            if not files:
                raise ImageError(f"The folder {name!r} holds no image files.")
            return sorted(files, key=_natural)
        if any(mark in name for mark in "*?[") and not path.exists():
            matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 (may be absolute)
            files = [one for one in matches if Path(one).is_file()]
            if not files:
                raise ImageError(f"No file matches {name!r}.")
            return sorted(files, key=_natural)
    except OSError as error:
        raise ImageError(
            f"{short_name(name)} cannot be read: {error.strerror or error}."
        ) from error
    return [name]


def _is_image(path: Path) -> bool:
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Orders photo2 before photo10."""
    parts = re.split(r"([0-9]+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _path(name: str) -> Path:
    try:
        path = Path(name)
        return path if path.exists() else path.expanduser()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, ~nobody: said when it is opened
        return Path(name)


def _refuse_absent(name: str) -> None:
    from secondsight.images import check_image_path

    if name != STDIN and not elsewhere(name):
        check_image_path(name)
