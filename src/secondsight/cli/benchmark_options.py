"""Options of benchmarks on the command line, the same for all that declare them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

_DATA: Final = "Data"


def _option(help: str, **settings: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=_DATA, show_default=False, **settings)


@dataclass(frozen=True)
class BenchmarkOptions:
    """What was given; an option that the benchmark does not declare is refused by its name.

    Further options, such as those of benchmarks of users' own, are written after the benchmark's
    name: ``pope:per_image=2``.
    """

    dataset: Annotated[str | None, _option("A built-in dataset instead of files: stickers.")] = None
    split: Annotated[
        str | None, _option("The built-in dataset's split: test, conflict, hard, val.")
    ] = None
    strategy: Annotated[
        str | None, _option("POPE questions on it: random, popular or adversarial.")
    ] = None
    questions: Annotated[
        Path | None, _option("POPE's question file, or AMBER's query file.", metavar="FILE")
    ] = None
    images: Annotated[Path | None, _option("Folder of the images.", metavar="DIR")] = None
    instances: Annotated[
        Path | None, _option("CHAIR: COCO-format instances file.", metavar="FILE")
    ] = None
    captions: Annotated[
        Path | None,
        _option(
            "CHAIR: COCO captions file; what the references name counts as shown.", metavar="FILE"
        ),
    ] = None
    synonyms: Annotated[
        Path | None,
        _option(
            "CHAIR: synonym file in the official format, to compare with papers.", metavar="FILE"
        ),
    ] = None
    annotations: Annotated[
        Path | None, _option("AMBER's data folder, or MME's benchmark folder.", metavar="DIR")
    ] = None
    prompt: Annotated[str | None, _option("CHAIR: the instruction, instead of the usual one.")] = (
        None
    )
    parser: Annotated[
        str | None,
        _option(
            "How yes and no are read. POPE: strict, official, vcd-2023 or ritual-2024; AMBER: "
            "strict or official."
        ),
    ] = None
    vectors: Annotated[
        str | None,
        _option("AMBER: spaCy pipeline for near synonyms; officially en_core_web_lg."),
    ] = None
    drop_unfinished: Annotated[
        bool | None,
        _option(
            "CHAIR: leave out a last sentence that the length limit cut off.",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """The options that were given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}
