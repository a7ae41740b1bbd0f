"""``secondsight score``: scores of answers that anyone's code produced."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from secondsight.cli import options
from secondsight.cli.benchmark_options import BenchmarkOptions
from secondsight.cli.grouped import takes
from secondsight.cli.output import stderr, stdout

if TYPE_CHECKING:
    from secondsight.benchmarks import Scored


@takes(BenchmarkOptions, "data")
def score(
    benchmark: Annotated[
        str,
        typer.Argument(
            help="pope, chair, mme, amber or your own, with further options behind it. All of "
            "them: secondsight benchmarks."
        ),
    ],
    answers: Annotated[
        Path,
        typer.Option(
            help="The answers: the benchmark's own format, the folder or file of eval or of "
            "describe --list, or what LLaVA, lmms-eval and VLMEvalKit write.",
            metavar="PATH",
        ),
    ],
    lenient: Annotated[
        bool,
        typer.Option("--lenient", help="Leave out bad records, counted, instead of stopping."),
    ] = False,
    plugin: options.Plugin = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    *,
    data: BenchmarkOptions,
) -> None:
    """Score answers that anyone's code produced.

    [bold]Examples[/bold]

      [cyan]secondsight score pope --questions coco_pope_random.json --answers mine.jsonl[/cyan]
      [cyan]secondsight score pope --dataset stickers --answers runs/mine --parser official[/cyan]
      [cyan]secondsight score chair --instances instances.json --answers captions.jsonl[/cyan]
      [cyan]secondsight score mme --answers folder/with/TASK.txt/files[/cyan]
      [cyan]secondsight score amber --annotations AMBER/data --answers answers.json[/cyan]

    A folder of eval is scored as a whole: every method and seed, with the comparison.
    """
    from secondsight.benchmarks import score as score_answers
    from secondsight.cli.plugins import load_plugins

    load_plugins(plugin or ())
    scored = score_answers(benchmark, answers, options=data.given(), lenient=lenient)
    if len(scored.runs) > 1:
        _show_runs(scored, as_json)
        return
    from secondsight.benchmarks.tables import score_tables

    result = scored.result
    _warn(stderr(), result.warnings)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
    else:
        stdout().print(score_tables(_title(scored), result.to_dict()), highlight=False)


def _show_runs(scored: Scored, as_json: bool) -> None:
    """The scores of several methods and seeds, compared where the methods have seeds in common."""
    from secondsight.benchmarks.comparing import comparison_of
    from secondsight.benchmarks.tables import comparison_table, length_table, runs_table
    from secondsight.extras import require

    require("eval", "A comparison of methods", "scipy", "statsmodels")
    compared = comparison_of(scored)
    _warn(stderr(), dict.fromkeys(w for run in scored.runs for w in run.result.warnings))
    runs = scored.to_dict()["runs"]
    if as_json:
        table = None if compared is None else compared.to_dict()
        typer.echo(json.dumps({"runs": runs, "comparison": table}, ensure_ascii=False, indent=2))
        return
    console = stdout()
    console.print(runs_table(_title(scored), runs), highlight=False)
    if compared is not None:
        heading = scored.benchmark.heading
        console.print(comparison_table(compared, heading, console.width), highlight=False)
        if compared.lengths is not None:
            console.print(length_table(compared, compared.lengths), highlight=False)


def _warn(console: Console, warnings: Iterable[str]) -> None:
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def _title(scored: Scored) -> str:
    from secondsight.benchmarks.task import settled

    return ", ".join(filter(None, (scored.benchmark.heading, settled(scored.task.scoring))))
