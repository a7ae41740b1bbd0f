"""Every method, combination and control on every split of StickerScenes, in one command.

Usage:
    pip install -e ".[eval]"
    python method_comparison/run.py --out build/comparison

Captions and yes/no questions, drawn at temperature 1 and greedy, with several seeds, what the
single views know, and checked captions. Runs what is not there yet, so an interrupted comparison
goes on; then writes tables, findings and plots into docs/stickers.md and docs/check.md. `--scenes`,
`--seeds` and `--only` set the size, `--minutes` ends it in time, `--write` writes from what is
finished and runs nothing, `--rescore` scores the answers that are there anew before.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

# One thread for each process: before torch is loaded, here and in the processes started below.
os.environ["OMP_NUM_THREADS"] = "1"

from document import write
from tables import BATCH, NEW_TOKENS, PAGES, SPLITS, Size, Table, select

ROOT = Path(__file__).parents[1]
EVERY = 20.0
"""Seconds between two lines of progress."""


def run_table(table: Table, size: Size, out: Path) -> None:
    """Runs one table, or goes on with it."""
    import torch

    from secondsight.benchmarks.runner import evaluate

    torch.set_num_threads(1)
    own = table.size(size)
    evaluate(
        table.benchmark,
        methods=table.methods,
        seeds=tuple(range(own.seeds)),
        options={"dataset": "stickers", "split": table.split},
        limit=own.scenes,
        temperature=table.temperature,
        max_new_tokens=NEW_TOKENS[table.task],
        batch_size=BATCH,
        device="cpu",
        progress=False,
        out=out / table.name,
    )


def rescore(table: Table, out: Path) -> None:
    """Scores the answers of a table that are there anew; no model is asked."""
    from secondsight.benchmarks import score
    from secondsight.benchmarks.comparing import comparison_of
    from secondsight.benchmarks.report import write_reports

    folder = out / table.name
    options = {"dataset": "stickers", "split": table.split}
    scored = score(table.benchmark, folder, options=options)
    comparison = comparison_of(scored)
    if comparison is not None:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        write_reports(folder, comparison, scored.benchmark.heading, manifest)


def run_evidence(split: str, size: Size, out: Path) -> None:
    """Asks the single views of one split."""
    import torch
    from evidence import gather

    torch.set_num_threads(1)
    gather(split, size.scenes, out)


def run_doubts(split: str, out: Path) -> None:
    """Asks the model about its own captions of one split."""
    import torch
    from detection import gather

    torch.set_num_threads(1)
    gather(split, out)


def run(
    out: Path, size: Size, only: tuple[str, ...], jobs: int, minutes: float | None
) -> list[str]:
    """Runs everything on `jobs` processors, going on with what is there.

    Args:
        out: Folder of the runs.
        size: How much is asked.
        only: Names of tables; all if empty.
        jobs: Processes.
        minutes: When to stop, finished or not; None for no limit.

    Returns:
        The names of what failed or was not finished.
    """
    out.mkdir(parents=True, exist_ok=True)
    wanted = select(only)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent) as pool:
        named: dict[Future[None], str] = {}

        def submit(chosen: list[Table]) -> None:
            named.update({pool.submit(run_table, p, size, out): p.name for p in chosen})

        # The most telling first, so that an early stop leaves something.
        submit([table for table in wanted if table.temperature])
        for split in SPLITS:
            if not only or f"evidence-{split}" in only:
                named[pool.submit(run_evidence, split, size, out)] = f"evidence-{split}"
            if not only or f"doubts-{split}" in only:
                named[pool.submit(run_doubts, split, out)] = f"doubts-{split}"
        submit([table for table in wanted if not table.temperature])
        unfinished: list[str] = []
        try:
            unfinished = _watch(named, wanted, size, out, minutes)
        finally:
            if any(not future.done() for future in named):
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.terminate()
        return unfinished


def _end_with_parent() -> None:
    """Lets a process end when the command was killed, so that none works on unseen."""
    parent = multiprocessing.parent_process()

    def wait_for_it() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait_for_it, daemon=True).start()


def _watch(
    named: dict[Future[None], str],
    wanted: list[Table],
    size: Size,
    out: Path,
    minutes: float | None,
) -> list[str]:
    """Waits for everything, with a line of progress now and then."""
    start, pending = time.monotonic(), set(named)
    failed: list[str] = []
    before = sum(table.progress(out, size)[0] for table in wanted)
    while pending:
        seconds = time.monotonic() - start
        if minutes is not None and seconds > 60 * minutes:
            _say(f"stopped after {seconds / 60:.0f} min; the same command goes on from here")
            return [*failed, *(named[future] for future in pending)]
        ended, pending = wait(pending, timeout=EVERY, return_when=FIRST_COMPLETED)
        for future in ended:
            error = future.exception()
            if error is not None:
                failed.append(named[future])
            _say(f"{named[future]}: {f'failed: {error}' if error else 'finished'}")
        if not ended:
            _say(_progress(wanted, size, out, before, time.monotonic() - start))
    return failed


def _progress(wanted: list[Table], size: Size, out: Path, before: float, seconds: float) -> str:
    work = [table.progress(out, size) for table in wanted] or [(1.0, 1.0)]
    done, total = (sum(values) for values in zip(*work, strict=True))
    rate = (done - before) / seconds
    left = f", about {(total - done) / rate / 60:.0f} min left" if rate > 0 else ""
    return f"{100 * done / total:.0f}% after {seconds / 60:.1f} min{left}"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> int:
    """The command."""
    names = [
        *(table.name for table in select()),
        *(f"{part}-{split}" for part in ("evidence", "doubts") for split in SPLITS),
    ]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build/comparison")
    parser.add_argument("--scenes", type=int, default=60, help="scenes of each split")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", default=(), choices=names, metavar="PART", help=", ".join(names)
    )
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8), help="processes")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--minutes", type=float, help="stop after so long, and write what there is")
    parser.add_argument("--write", action="store_true", help="only write what is finished")
    parser.add_argument(
        "--rescore", action="store_true", help="score what is finished anew, and write it"
    )
    args = parser.parse_args()
    if min(args.scenes, args.seeds, args.jobs) < 1:
        parser.error("--scenes, --seeds and --jobs must be at least 1")
    failed: list[str] = []
    if args.rescore:
        for table in select(tuple(args.only)):
            if (args.out / table.name / "scores.json").exists():
                rescore(table, args.out)
                _say(f"{table.name}: scored anew")
    elif not args.write:
        try:
            size = Size(args.scenes, args.seeds)
            failed = run(args.out, size, tuple(args.only), args.jobs, args.minutes)
        except KeyboardInterrupt:
            _say("interrupted; the same command goes on from here")
            return 130
    written = [page for page, tasks in PAGES.items() if write(args.out, args.docs / page, tasks)]
    _say(f"written: {', '.join(written)}" if written else f"{args.out}: nothing is finished")
    if failed:
        _say(f"not finished: {', '.join(failed)}; the same command tries them again")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
