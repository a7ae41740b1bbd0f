"""The options that say which model a command loads, and how."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from secondsight.cli.grouped import Command, takes
from secondsight.cli.output import quiet, say, stderr

if TYPE_CHECKING:
    from secondsight.inference import Model

_MODEL: Final = "Model"


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=_MODEL, **settings)


@dataclass(frozen=True)
class Loading:
    """What was asked for; each field is an option of every command that `loads_a_model`."""

    model: Annotated[
        str | None,
        _option(
            "--model",
            "-m",
            help="Checkpoint folder or hub id, such as llava-hf/llava-1.5-7b-hf; left out: the "
            "small model that ships with secondsight and knows only sticker scenes.",
            metavar="NAME",
        ),
    ] = None
    preset: Annotated[str, _option(help="Protocol: llava-official, ritual-2024 or vcd-2023.")] = (
        "llava-official"
    )
    device: Annotated[
        str, _option(help="auto (CUDA, else MPS, else cpu), cpu, mps, cuda:1, ...")
    ] = "auto"
    dtype: Annotated[str, _option(help="auto, float32, float16 or bfloat16.")] = "auto"
    revision: Annotated[str | None, _option(help="Branch, tag or commit on the hub.")] = None
    model_base: Annotated[
        str | None,
        _option(
            help="What a LoRA, delta or projector checkpoint adds to: folder or hub id.",
            metavar="NAME",
        ),
    ] = None
    vision_tower: Annotated[
        str | None,
        _option(
            help="CLIP tower of an original-layout checkpoint: folder or hub id.", metavar="NAME"
        ),
    ] = None
    device_map: Annotated[
        str | None, _option(help="auto spreads the weights over all devices (accelerate).")
    ] = None
    load_in_8bit: Annotated[
        bool, _option("--load-in-8bit", help="Quantise to 8 bits (bitsandbytes).")
    ] = False
    load_in_4bit: Annotated[
        bool, _option("--load-in-4bit", help="Quantise to 4 bits (bitsandbytes).")
    ] = False
    attn_implementation: Annotated[
        str | None, _option(help="eager, sdpa or flash_attention_2.")
    ] = None
    calibrations: Annotated[
        str | None,
        _option(
            help="What the model's yes and no mean, from secondsight calibrate; left out: the "
            "checkpoint's doubts.json.",
            metavar="FILE",
        ),
    ] = None
    local_files_only: Annotated[
        bool, _option("--local-files-only", help="Fetch nothing from the hub.")
    ] = False
    trust_remote_code: Annotated[
        bool,
        _option(
            "--trust-remote-code",
            help="Let Python code that comes with the checkpoint run, with all your rights. No "
            "family that transformers knows needs it.",
        ),
    ] = False

    def load(self) -> Model:
        """Load the model, saying so on stderr while it takes time."""
        quiet()
        from secondsight.checkpoints import load

        if self.model is None or Path(self.model).expanduser().is_dir():
            with stderr().status(f"Loading {self.model or 'the bundled model'} ..."):
                return load(**vars(self))
        if stderr().is_terminal:
            say(f"Loading {self.model} ...")  # no spinner: the hub draws progress bars of its own
        return load(**vars(self))


def loads_a_model(*, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Give a command's function the options of `Loading`, which it gets as the argument `loading`.

    What the function has an argument of its own for stays as it has it.

    Args:
        without: Options that the command is not to have.
    """
    return takes(Loading, "loading", without=without)
