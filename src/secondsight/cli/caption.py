"""``secondsight caption``: very many images, by several workers, the same bytes whoever works."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from secondsight.cli import options
from secondsight.cli.interrupts import EXIT_CODE
from secondsight.cli.loading import Loading, loads_a_model
from secondsight.cli.output import say
from secondsight.cli.running import KINDS, Shown
from secondsight.errors import UserError
from secondsight.settings import Settings, as_stops

if TYPE_CHECKING:
    from secondsight.bulk import Summary

_ROWS: Final = "Rows"
_RUN: Final = options.RUN


@loads_a_model()
def caption(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder (with all folders in it), a pattern such as 'a/**/*.jpg', a table "
            "(.jsonl, .csv, .tsv, .parquet) with a column 'image', or webdataset's .tar files; "
            "here, or behind a URL such as s3://bucket/folder.",
            metavar="SOURCE",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The folder of the run. answers.jsonl in it has the answers, in order. Run the "
            "same command again to go on after whatever happened.",
            metavar="DIR",
        ),
    ],
    question: options.Question = options.DESCRIBE,
    image_column: Annotated[
        str, typer.Option(help="The column of a table that has images.", rich_help_panel=_ROWS)
    ] = "image",
    question_column: Annotated[
        str,
        typer.Option(help="The one that has questions, if any.", rich_help_panel=_ROWS),
    ] = "question",
    id_column: Annotated[
        str,
        typer.Option(help="The one that has ids; without it images are.", rich_help_panel=_ROWS),
    ] = "id",
    allow_private_urls: Annotated[
        bool,
        typer.Option(
            "--allow-private-urls",
            help="Fetch images from private and local addresses too.",
            rich_help_panel=_ROWS,
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(help="Processes, each with a model of its own.", rich_help_panel=_RUN),
    ] = 1,
    ray: options.Ray = None,
    num_gpus: options.NumGpus = 0.0,
    worker_memory: options.WorkerMemory = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N: only every N-th shard from the I-th on (0 to N-1), as one task of an array "
            "of N does; the last to end joins the answers.",
            metavar="I/N",
            rich_help_panel=_RUN,
        ),
    ] = None,
    shard_size: Annotated[
        int,
        typer.Option(help="Rows that are written together.", rich_help_panel=_RUN),
    ] = 256,
    batch_size: Annotated[
        int, typer.Option(help="Images answered together.", rich_help_panel=_RUN)
    ] = 16,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            help="jsonl, parquet, or both, separated by a comma.",
            rich_help_panel=_RUN,
        ),
    ] = "jsonl",
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Answer shards with failed rows again.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    method: options.MethodSpec = "regular",
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = 1.0,
    top_k: options.TopK = None,
    max_new_tokens: options.MaxNewTokens = 512,
    beams: options.Beams = 1,
    seed: options.Seed = 0,
    stop: options.Stop = None,
    plugin: options.Plugin = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print how it went as JSON, at the end.")
    ] = False,
    *,
    loading: Loading,
) -> None:
    """Caption or question whole buckets of images; survives whatever happens.

    Rows are fixed first, then answered in shards by workers, and joined in order at the end: the
    same bytes, however many workers there were and whatever was killed.

    [bold]Examples[/bold]

      [cyan]secondsight caption photos/ --out run --workers 2[/cyan]
      [cyan]secondsight caption list.jsonl --out run --method ritual[/cyan]
      [cyan]secondsight caption 'shards/*.tar' --out run --format jsonl,parquet[/cyan]
      [cyan]secondsight caption s3://bucket/images --out run --shard $SLURM_ARRAY_TASK_ID/16[/cyan]
      [cyan]secondsight caption s3://bucket/images --out /shared/run --ray auto --workers 16[/cyan]

    Exit code 0: all answered. 1: some rows failed; they are in the answers, with the reason. 2:
    something must be mended first. 130: interrupted.
    """
    from secondsight.bulk.answering import ModelStarter
    from secondsight.bulk.reading import PUBLIC
    from secondsight.bulk.run import Caption, run
    from secondsight.bulk.sources import Source
    from secondsight.cli.plugins import load_plugins
    from secondsight.cli.workers import carried_by
    from secondsight.fetching import FetchPolicy
    from secondsight.methods import create

    if batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, not {batch_size}.")
    load_plugins(plugin or ())
    create(method)  # a misspelt one is said at once, not by every worker
    settings = Settings(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop=as_stops(stop),
        seed=seed,
        num_beams=beams,
    )
    plan = Caption(
        Source(source, question, image_column, question_column, id_column),
        out,
        ModelStarter(
            vars(loading),
            method,
            settings,
            batch_size,
            image_column,
            FetchPolicy(timeout_s=10) if allow_private_urls else PUBLIC,
            partial(load_plugins, [path.absolute() for path in plugin or ()]),
        ),
        workers=workers,
        part=_part(shard),
        shard_size=shard_size,
        formats=tuple(one.strip() for one in formats.split(",")),
        retry_failed=retry_failed,
        carry=carried_by(ray, num_gpus),
        memory_gb=worker_memory,
    )
    shown = Shown()
    try:
        summary = run(plan, shown)
    except KeyboardInterrupt:
        shown.close()
        say(f"Interrupted. Run the same command again to go on: {out}")
        raise typer.Exit(EXIT_CODE) from None
    finally:
        shown.close()
    if as_json:
        typer.echo(json.dumps(_plain(summary), indent=2))
    else:
        _say(summary, out)
    if summary.failed:
        raise typer.Exit(1)


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal()):
        raise UserError(f"--shard must be I/N, such as 0/16, not {text!r}.")
    return int(first), int(count)


def _plain(summary: Summary) -> dict[str, Any]:
    new = summary.done - summary.before
    return {
        "rows": summary.rows,
        "done": summary.done,
        "from_before": summary.before,
        "failed": dict(summary.reasons.most_common()),
        "by_worker": {str(worker): rows for worker, rows in sorted(summary.by_worker.items())},
        "workers_that_ended": summary.deaths,
        "devices": summary.devices,
        "seconds": round(summary.seconds, 3),
        "rows_per_second": round(new / summary.seconds, 3) if summary.seconds else None,
        "files": [str(path) for path in summary.files],
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _say(summary: Summary, out: Path) -> None:
    new = summary.done - summary.before
    kept = f" ({summary.before} from before)" if summary.before else ""
    rate = f", {new / summary.seconds:.2g} a second" if new and summary.seconds else ""
    say(f"{summary.done} of {summary.rows} done{kept}{rate}")
    if len(summary.by_worker) > 1:
        each = ", ".join(f"{number}: {rows}" for number, rows in sorted(summary.by_worker.items()))
        say(f"  by worker {each}")
    for reason, count in summary.reasons.most_common(KINDS):
        say(f"  {count} failed: {reason}")
    if len(summary.reasons) > KINDS:
        say(f"  and {len(summary.reasons) - KINDS} other reasons")
    for path in summary.files:
        say(f"Answers: {path}")
    if not summary.files:
        say(f"Other shards of {out} are not answered yet; whoever ends last joins the answers.")
