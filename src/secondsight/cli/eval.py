"""``secondsight eval``: run methods and their controls on a benchmark, and say what it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secondsight.cli.loading import Loading, loads_a_model
from secondsight.errors import UserError
from secondsight.extras import require


@loads_a_model()
def evaluate(
    benchmark: Annotated[str, typer.Argument(help="pope, chair, mme or amber.")],
    methods: Annotated[
        str, typer.Option(help="Methods by comma; separate those with parameters by semicolon.")
    ] = "regular,ritual,vcd,m3id",
    controls: Annotated[
        bool,
        typer.Option(help="Add the controls, so that a gain can be told from sharpening."),
    ] = True,
    seeds: Annotated[str, typer.Option(help="Seeds by comma, such as 0,1,2,3,4.")] = "0",
    dataset: Annotated[
        str | None, typer.Option(help="A built-in dataset instead of files: stickers.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="The built-in dataset's split: test, conflict, hard, val.")
    ] = "test",
    strategy: Annotated[
        str, typer.Option(help="POPE questions on it: random, popular or adversarial.")
    ] = "adversarial",
    questions: Annotated[
        Path | None, typer.Option(help="POPE's question file, or AMBER's query file.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images.")] = None,
    instances: Annotated[
        Path | None, typer.Option(help="CHAIR: COCO-format instances file.")
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="CHAIR: COCO captions file of references.")
    ] = None,
    synonyms: Annotated[
        Path | None, typer.Option(help="CHAIR: synonym file in the official format.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="AMBER's data folder, or MME's benchmark folder.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="CHAIR: the instruction, instead of the usual one.")
    ] = None,
    parser: Annotated[
        str | None, typer.Option(help="POPE: the parser, instead of the preset's.")
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(help="AMBER: spaCy pipeline for near synonyms, such as en_core_web_lg."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="The first N images, with all their questions (stickers: 100)."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Answers do not depend on it.")] = 24,
    temperature: Annotated[
        float, typer.Option(help="Of sampling; papers use 1. The control 'greedy' stays greedy.")
    ] = 1.0,
    top_p: Annotated[float, typer.Option(help="Of sampling.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Of sampling.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Limit of an answer; the benchmark's own if left out.")
    ] = None,
    lenient: Annotated[
        bool,
        typer.Option("--lenient", help="Leave out bad records, counted, instead of stopping."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's folder; the same settings continue it. Left out: one under runs/."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print scores.json instead of the table.")
    ] = False,
    *,
    loading: Loading,
) -> None:
    """Generate and score: every method beside its controls, with intervals and a verdict.

    Without files it runs on StickerScenes and the bundled model:

        secondsight eval pope --dataset stickers
    """
    require("eval", "An evaluation")
    # Here, because they load the models' libraries, which --help can do without.
    from secondsight.benchmarks.base import Source, create
    from secondsight.benchmarks.report import comparison_table
    from secondsight.benchmarks.runner import evaluate as run
    from secondsight.cli.output import quiet
    from secondsight.methods import split as split_methods

    quiet()
    result = run(
        benchmark,
        out=out,
        model=loading.load,
        methods=split_methods(methods),
        controls=controls,
        preset=loading.preset,
        seeds=_seeds(seeds),
        source=Source(
            dataset=dataset,
            split=split,
            limit=limit,
            questions=questions,
            images=images,
            instances=instances,
            captions=captions,
            synonyms=synonyms,
            annotations=annotations,
            strategy=strategy,
            prompt=prompt,
            parser=parser,
            vectors=vectors,
        ),
        batch_size=batch_size,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_new_tokens=max_new_tokens,
        lenient=lenient,
    )
    notes = Console(stderr=True)
    for warning in result.comparison.warnings:
        notes.print(f"warning: {warning}", style="yellow", markup=False)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
        return
    console = Console()
    console.print(comparison_table(result.comparison, create(benchmark).title, console.width))
    console.print(f"report: {result.folder / 'report.html'}", markup=False, highlight=False)


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds must be whole numbers by comma, not {text!r}") from None
