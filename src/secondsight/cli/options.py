"""Options that several commands share, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DESCRIBE = "Describe this image in detail."
"""What is asked when nothing is."""

RUN = "The run"
"""The panel of options about who works, and how."""

_DECODING = "Decoding"

Question = Annotated[
    str, typer.Option("--question", "-q", help="What to ask about the image.", metavar="TEXT")
]
MethodSpec = Annotated[
    str,
    typer.Option(
        "--method",
        help="Such as ritual or ritual:alpha=2,transform=hflip; all: secondsight methods.",
        rich_help_panel=_DECODING,
    ),
]
Temperature = Annotated[
    float,
    typer.Option(help="0 takes the best token, above 0 draws.", rich_help_panel=_DECODING),
]
TopP = Annotated[
    float,
    typer.Option(
        help="Draw from the fewest tokens that reach this probability.",
        rich_help_panel=_DECODING,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(help="Draw from this many tokens at the most.", rich_help_panel=_DECODING),
]
Beams = Annotated[
    int,
    typer.Option(
        help="Above 1: beam search, with so many hypotheses, for every method.",
        rich_help_panel=_DECODING,
    ),
]
MaxNewTokens = Annotated[
    int, typer.Option(help="The longest answer, in tokens.", rich_help_panel=_DECODING)
]
Seed = Annotated[
    int, typer.Option(help="The same seed draws the same answer.", rich_help_panel=_DECODING)
]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        help="End the answer before this text; may be given several times.",
        rich_help_panel=_DECODING,
    ),
]
Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        help="Python file that registers methods or benchmarks of your own; also: "
        "SECONDSIGHT_PLUGINS.",
        metavar="FILE.py",
        rich_help_panel=_DECODING,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        help="Have Ray carry the workers: the address of a cluster, auto for the one that this "
        "machine is part of, local for one of this machine.",
        metavar="ADDRESS",
        rich_help_panel=RUN,
    ),
]
NumGpus = Annotated[
    float, typer.Option(help="Cards that each worker gets from Ray.", rich_help_panel=RUN)
]
WorkerMemory = Annotated[
    float | None,
    typer.Option(
        help="The most memory that a worker may hold, in GB: one that holds more is ended, and "
        "what it was at is tried again by another.",
        metavar="GB",
        rich_help_panel=RUN,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def checked_question(question: str) -> str:
    """The question, unless it cannot be asked; said before a model is loaded."""
    from secondsight.sample import check_question

    check_question(question)
    return question
