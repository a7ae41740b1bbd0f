"""Options that several verbs share, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondsight.cli.output import quiet, say, stderr
from secondsight.errors import QuestionError

if TYPE_CHECKING:
    from secondsight.models import Model

DESCRIBE = "Describe this image in detail."
"""What is asked when nothing is."""

_MODEL, _DECODING = "Model", "Decoding"

Question = Annotated[
    str, typer.Option("--question", "-q", help="What to ask about the picture.", metavar="TEXT")
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Checkpoint folder or hub id, such as llava-hf/llava-1.5-7b-hf; left out: the small "
        "model that ships with secondsight and knows only sticker scenes.",
        metavar="NAME",
        rich_help_panel=_MODEL,
    ),
]
PresetName = Annotated[
    str,
    typer.Option(help="Protocol: llava-official, ritual-2024 or vcd-2023.", rich_help_panel=_MODEL),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...", rich_help_panel=_MODEL)]
Dtype = Annotated[
    str, typer.Option(help="auto, float32, float16 or bfloat16.", rich_help_panel=_MODEL)
]
Revision = Annotated[
    str | None,
    typer.Option(help="Branch, tag or commit on the hub.", rich_help_panel=_MODEL),
]
VisionTower = Annotated[
    str | None,
    typer.Option(
        help="CLIP tower of an original-layout checkpoint: folder or hub id.",
        rich_help_panel=_MODEL,
    ),
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
        help="Python file that registers methods of your own; also: SECONDSIGHT_PLUGINS.",
        metavar="FILE.py",
        rich_help_panel=_DECODING,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def checked_question(question: str) -> str:
    """The question, unless it is empty; said before a model is loaded."""
    if not question.strip():
        raise QuestionError("The question is empty. Ask something about the image.")
    return question


def load_model(
    name: str | None,
    *,
    preset: str,
    device: str,
    dtype: str,
    revision: str | None,
    vision_tower: str | None,
) -> Model:
    """Load a model, saying so on stderr while it takes time."""
    quiet()
    from secondsight.models import load

    def loaded() -> Model:
        return load(
            name,
            device=device,
            dtype=dtype,
            revision=revision,
            vision_tower=vision_tower,
            preset=preset,
        )

    if name is None or Path(name).expanduser().is_dir():
        with stderr().status(f"Loading {name or 'the bundled model'} ..."):
            return loaded()
    if stderr().is_terminal:
        say(f"Loading {name} ...")  # no spinner: the hub draws progress bars of its own
    return loaded()
