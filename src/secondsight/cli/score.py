"""``secondsight score``: scores of answers that anyone's code produced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.table import Table

from secondsight.benchmarks import score_amber, score_chair, score_mme, score_pope, tables

app = typer.Typer(
    name="score",
    help="Score answers that anyone's code produced, in the benchmark's own file format.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Lenient = Annotated[
    bool,
    typer.Option("--lenient", help="Leave out bad records, counted, instead of stopping."),
]


class _Result(Protocol):
    @property
    def warnings(self) -> tuple[str, ...]: ...

    def to_dict(self) -> dict[str, Any]: ...


def _show(result: _Result, table: Table, as_json: bool) -> None:
    for warning in result.warnings:
        Console(stderr=True).print(f"warning: {warning}", style="yellow", markup=False)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
    else:
        Console().print(table)


@app.command()
def pope(
    questions: Annotated[
        Path, typer.Option(help="POPE question file: question_id, image, text, label per line.")
    ],
    answers: Annotated[Path, typer.Option(help="JSON lines of question_id and text (or answer).")],
    parser: Annotated[
        str, typer.Option(help="How yes and no are read: strict, vcd-2023 or ritual-2024.")
    ] = "strict",
    lenient: Lenient = False,
    as_json: Json = False,
) -> None:
    """POPE: accuracy, precision, recall, F1 and the yes-ratio of the answers."""
    result = score_pope(questions, answers, parser=parser, lenient=lenient)
    _show(result, tables.pope_table(result, parser), as_json)


@app.command()
def chair(
    answers: Annotated[Path, typer.Option(help="JSON lines of image_id and caption.")],
    instances: Annotated[Path, typer.Option(help="COCO-format instances file.")],
    captions: Annotated[
        Path | None,
        typer.Option(help="COCO captions file; what the references name counts as shown."),
    ] = None,
    synonyms: Annotated[
        Path | None, typer.Option(help="Synonym file in the official format, to compare papers.")
    ] = None,
    drop_unfinished: Annotated[
        bool,
        typer.Option(
            "--drop-unfinished", help="Ignore a last sentence that the length limit cut off."
        ),
    ] = False,
    lenient: Lenient = False,
    as_json: Json = False,
) -> None:
    """CHAIR: which objects captions name that the images do not show."""
    result = score_chair(
        answers, instances, captions, synonyms, drop_unfinished=drop_unfinished, lenient=lenient
    )
    _show(result, tables.chair_table(result), as_json)


@app.command()
def mme(
    answers: Annotated[
        Path, typer.Option(help="Folder of TASK.txt: image, question, label, answer, by tabs.")
    ],
    lenient: Lenient = False,
    as_json: Json = False,
) -> None:
    """MME: accuracy, accuracy+ and points per task, and the totals."""
    result = score_mme(answers, lenient=lenient)
    _show(result, tables.mme_table(result), as_json)


@app.command()
def amber(
    answers: Annotated[Path, typer.Option(help="JSON of id and response.")],
    annotations: Annotated[
        Path,
        typer.Option(help="AMBER's data folder (annotations.json, relation.json, safe_words.txt)."),
    ],
    vectors: Annotated[
        str | None,
        typer.Option(
            help="spaCy pipeline with word vectors for near synonyms; officially en_core_web_lg."
        ),
    ] = None,
    lenient: Lenient = False,
    as_json: Json = False,
) -> None:
    """AMBER: CHAIR, Cover, Hal, Cog, the yes/no score, and the AMBER score."""
    result = score_amber(answers, annotations, similar=vectors, lenient=lenient)
    _show(result, tables.amber_table(result), as_json)
