"""``secondsight eval``: run methods and their controls on a benchmark, and say what it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondsight.cli import options
from secondsight.cli.benchmark_options import BenchmarkOptions
from secondsight.cli.grouped import takes
from secondsight.cli.loading import Loading, loads_a_model
from secondsight.cli.output import quiet, say, stderr, stdout
from secondsight.errors import UserError
from secondsight.extras import require

if TYPE_CHECKING:
    from secondsight.inference import Model


@loads_a_model()
@takes(BenchmarkOptions, "data")
def evaluate(
    benchmark: Annotated[
        str,
        typer.Argument(
            help="pope, chair, mme, amber or your own, with further options behind it: "
            "pope:per_image=2. All of them: secondsight benchmarks."
        ),
    ],
    methods: Annotated[
        str, typer.Option(help="Methods by comma; separate those with parameters by semicolon.")
    ] = "regular,ritual,vcd,m3id",
    controls: Annotated[
        bool,
        typer.Option(help="Add the controls, so that a gain can be told from sharpening."),
    ] = True,
    equal_length: Annotated[
        str,
        typer.Option(
            help="Methods that get one more control each, for captions: regular decoding's, cut "
            "to the length of the method's.",
            metavar="METHODS",
        ),
    ] = "",
    seeds: Annotated[str, typer.Option(help="Seeds by comma, such as 0,1,2,3,4.")] = "0",
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
    beams: Annotated[int, typer.Option(help="Above 1: beam search, with --temperature 0.")] = 1,
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
            help="The run's folder. What it has already is not asked again: a run goes on, and "
            "takes further methods, seeds, images, or another parser. Left out: one under runs/."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Worker processes, each with a model of its own: the same answers, and one that "
            "dies is replaced. Left out: this process.",
            rich_help_panel=options.RUN,
        ),
    ] = None,
    ray: options.Ray = None,
    num_gpus: options.NumGpus = 0.0,
    worker_memory: options.WorkerMemory = None,
    plugin: options.Plugin = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print scores.json instead of the table.")
    ] = False,
    *,
    data: BenchmarkOptions,
    loading: Loading,
) -> None:
    """Generate and score: every method beside its controls, with intervals and a verdict.

    Without files it runs on StickerScenes and the bundled model:

        secondsight eval pope --dataset stickers
    """
    require("eval", "An evaluation")
    # Here, because they load the models' libraries, which --help can do without.
    from secondsight.benchmarks.distributed import Distributed
    from secondsight.benchmarks.registry import create
    from secondsight.benchmarks.runner import evaluate as run
    from secondsight.benchmarks.tables import comparison_table, length_table
    from secondsight.cli.plugins import load_plugins
    from secondsight.cli.workers import carried_by, load_in_worker
    from secondsight.methods import split as split_methods

    quiet()
    load_plugins(plugin or ())
    made = create(benchmark, data.given())
    carry = carried_by(ray, num_gpus)
    if worker_memory is not None and workers is None and ray is None:
        raise UserError("--worker-memory is for --workers and --ray.")
    model: Callable[[], Model] | Distributed = loading.load
    if ray is not None or workers is not None:
        load = partial(load_in_worker, loading, [path.absolute() for path in plugin or ()])
        model = Distributed(load, 1 if workers is None else workers, carry, say, worker_memory)
    result = run(
        made,
        out=out,
        model=model,
        methods=split_methods(methods),
        controls=controls,
        equal_length=split_methods(equal_length) if equal_length else (),
        preset=loading.preset,
        seeds=_seeds(seeds),
        limit=limit,
        batch_size=batch_size,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        num_beams=beams,
        max_new_tokens=max_new_tokens,
        lenient=lenient,
    )
    notes = stderr()
    for warning in result.comparison.warnings:
        notes.print(f"warning: {warning}", style="yellow", markup=False)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
        return
    console = stdout()
    console.print(comparison_table(result.comparison, made.heading, console.width))
    if result.comparison.lengths is not None:
        console.print(length_table(result.comparison, result.comparison.lengths))
    console.print(f"report: {result.folder / 'report.html'}", markup=False, highlight=False)


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds must be whole numbers by comma, not {text!r}") from None
