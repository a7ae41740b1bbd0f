"""Draw the README's picture of ``secondsight compare``: ``python tools/compare_image.py``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from secondsight.cli import compare
from secondsight.cli.main import app

TARGET = Path(__file__).resolve().parent.parent / "docs" / "compare.svg"


def main() -> None:
    """Run the verb on the shipped picture, recording what it prints."""
    console = Console(record=True, width=118, force_terminal=True, color_system="truecolor")
    compare.stdout = lambda: console
    app(["compare"], standalone_mode=False)
    svg = console.export_svg(title="secondsight compare")
    TARGET.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


if __name__ == "__main__":
    main()
