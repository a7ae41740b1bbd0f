"""Every method, combination and control on every split of StickerScenes, in one command.

Usage:
    python method_comparison/run.py --out build/comparison

Runs what is not there yet, so an interrupted comparison goes on; then writes the tables between
the markers of docs/stickers.md, and a plot beside it. `--scenes` and `--seeds` set the size.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from secondsight import load
from secondsight.benchmarks.base import Source
from secondsight.benchmarks.comparison import Comparison, Row
from secondsight.benchmarks.runner import evaluate

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs/stickers.md"
PLOT = ROOT / "docs/stickers_comparison.svg"
BEGIN, END = "<!-- comparison: begin -->", "<!-- comparison: end -->"

METHODS = ("ritual", "vcd", "m3id", "m3id:variant=paper", "ritual+vcd", "ritual+m3id")
SPLITS = ("test", "conflict", "hard")
TASKS = {"chair": "captions", "pope": "yes/no, adversarial"}


@dataclass(frozen=True)
class Part:
    """One table: a task on a split at a temperature."""

    task: str
    split: str
    temperature: float

    @property
    def name(self) -> str:
        """Folder of its run."""
        return f"{self.task}-{self.split}-{'greedy' if self.temperature == 0 else 'sampled'}"


def parts() -> list[Part]:
    """All tables, the most telling first, so that an early stop leaves something."""
    return [
        Part(task, split, temperature)
        for temperature in (1.0, 0.0)
        for task in TASKS
        for split in SPLITS
    ]


def run(out: Path, scenes: int, seeds: int, only: tuple[str, ...]) -> dict[str, Comparison]:
    """Runs or continues all parts; greedy ones once, since a seed only draws their views."""
    model = load()
    results = {}
    for part in parts():
        if only and part.name not in only:
            continue
        start = time.monotonic()
        done = evaluate(
            part.task,
            model=model,
            methods=METHODS,
            seeds=tuple(range(seeds)) if part.temperature else (0,),
            source=Source(dataset="stickers", split=part.split, limit=scenes),
            temperature=part.temperature,
            max_new_tokens=110 if part.task == "chair" else 4,
            batch_size=48,
            progress=sys.stderr.isatty(),
            out=out / part.name,
        )
        print(f"{part.name}: {time.monotonic() - start:.0f} s", flush=True)
        results[part.name] = done.comparison
    return results


def table(comparison: Comparison) -> str:
    """One part as Markdown; intervals are 95%, over images."""
    columns = (
        ("chair_i", "recall") if comparison.benchmark == "chair" else ("accuracy", "yes_ratio")
    )
    primary = columns[0]
    lines = [
        f"| method | {columns[0]} | {columns[1]} | against regular | against its best control |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in comparison.rows:
        cells = [
            f"{row.method}{' (control)' if row.control else ''}",
            _estimate(row, primary),
            f"{100 * row.metrics[columns[1]].mean:.1f}",
            _paired(row.versus_regular),
            _paired(row.versus_best_control),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _estimate(row: Row, name: str) -> str:
    value = row.metrics[name]
    if value.low is None or value.high is None:
        return f"{100 * value.mean:.1f}"
    return f"{100 * value.mean:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def _paired(pair: object) -> str:
    if pair is None:
        return ""
    low, high = pair.low, pair.high  # type: ignore[attr-defined]
    text = f"{100 * pair.difference:+.1f}"  # type: ignore[attr-defined]
    if low is not None and high is not None:
        text += f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return text


def write(results: dict[str, Comparison], docs: Path) -> None:
    """Puts the tables between the markers of the document."""
    blocks = []
    for part in parts():
        comparison = results.get(part.name)
        if comparison is None:
            continue
        how = "greedy" if part.temperature == 0 else "temperature 1"
        blocks.append(
            f"**{TASKS[part.task]}, `{part.split}`, {how}** "
            f"({comparison.images} scenes, {comparison.items} questions, "
            f"{len(comparison.seeds)} seed{'s' if len(comparison.seeds) > 1 else ''}; percent)\n\n"
            + table(comparison)
        )
    text = docs.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    body = "\n\n".join([BEGIN, *blocks, END])
    partial = docs.with_suffix(".part")
    partial.write_text(head + body + tail, encoding="utf-8")
    partial.replace(docs)


def plot(results: dict[str, Comparison], path: Path) -> None:
    """Hallucinated share of the named objects, by method and split, with intervals."""
    from matplotlib.figure import Figure

    shown = [part for part in parts() if part.task == "chair" and part.name in results]
    if not shown:
        return
    figure = Figure(figsize=(4 * len(shown), 4.2), layout="constrained")
    for axes, part in zip(
        figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True
    ):
        rows = results[part.name].rows[::-1]
        values = [100 * row.metrics["chair_i"].mean for row in rows]
        spans = [row.metrics["chair_i"] for row in rows]
        errors = [
            [100 * (s.mean - (s.mean if s.low is None else s.low)) for s in spans],
            [100 * ((s.mean if s.high is None else s.high) - s.mean) for s in spans],
        ]
        colours = ["#9a6a16" if row.control else "#2457a6" for row in rows]
        axes.barh([row.method for row in rows], values, xerr=errors, color=colours)
        how = "greedy" if part.temperature == 0 else "temperature 1"
        axes.set_title(f"{part.split}, {how}")
        axes.set_xlabel("CHAIRi, % (less is better)")
    figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build/comparison")
    parser.add_argument("--scenes", type=int, default=100, help="scenes of each split")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=(), help="names of parts, to run just those")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--docs", type=Path, default=DOCS, help="document to write the tables into")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = run(args.out, args.scenes, args.seeds, tuple(args.only))
    write(results, args.docs)
    plot(results, args.docs.with_name(PLOT.name))
    print(json.dumps({name: len(c.rows) for name, c in results.items()}))


if __name__ == "__main__":
    main()
