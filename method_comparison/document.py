"""Writes the comparison into a document: tables, findings, evidence and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shorter import CONTROL, METHOD, REGULAR, frontier, shorter
from tables import SPLITS, TASKS, Table, scores, select

from secondsight.extras import needed

with needed("eval", "The comparison of methods"):
    from matplotlib.figure import Figure

BEGIN, END = "<!-- comparison: begin -->", "<!-- comparison: end -->"
_OF_POPE = (
    " POPE asks about scenes that show at least three different objects. M3ID's weight is 0 at the "
    "first token, so its yes and no are regular decoding's."
)


def write(out: Path, docs: Path, tasks: tuple[str, ...]) -> bool:
    """Puts what is finished in `out` between the markers of the document, and plots beside it.

    Args:
        out: Folder of the runs.
        docs: The document.
        tasks: What it reports.

    Returns:
        Whether anything is finished.

    Raises:
        ValueError: If the runs are of different weights or the document has no markers.
    """
    # Here, because it loads torch, which the command's own process sets up first.
    from detection import doubts
    from findings import findings, overview, prior_table, reading, telling_table
    from pages import write_pages

    finished = {table: scores(out, table) for table in select() if table.task in tasks}
    results = {table: found for table, found in finished.items() if found is not None}
    gathered = {split: _evidence(out, split) for split in SPLITS if "chair" in tasks}
    evidence = {split: found for split, found in gathered.items() if found is not None}
    hashes = {_manifest(out, table)["weights"] for table in results}
    hashes |= {found["what"]["weights"] for found in evidence.values()}
    if len(hashes) > 1:
        raise ValueError(f"{out}: holds runs of different weights; choose another --out")
    if not hashes:
        return False
    text = docs.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{docs}: lacks the lines {BEGIN} and {END}")
    blocks = [_what(results, hashes.pop()), *overview(results)]
    for task in tasks:
        tables = {table: found for table, found in results.items() if table.task == task}
        if tables:
            name = f"{docs.stem}_{task}.svg"
            plot(tables, docs.with_name(name))
            blocks.append(f"![{TASKS[task].capitalize()}: every method and split]({name})")
    blocks += findings(results)
    if "check" in tasks:
        blocks += doubts(out)
    blocks += shorter(results)
    frontier_plot = docs.with_name(f"{docs.stem}_frontier.svg")
    if frontier(results, frontier_plot):
        blocks.append(f"![Recall against CHAIRi, and captions cut short]({frontier_plot.name})")
    if evidence:
        blocks += [
            "**What the single views know.** In answers by regular decoding, how often the prompt "
            "without the picture finds the object's name likelier than the prompt with it, and how "
            "often it leans to the yes or no that was given:",
            "\n".join(prior_table(evidence)),
            "How well a score tells true from made-up objects among those named (1: always, 0.5: "
            "by chance). The controls go by the original alone; a view that knows more than it "
            "must show it here:",
            "\n".join(telling_table(evidence)),
            "\n".join(reading(evidence)),
        ]
    blocks += [_details(table, found) for table, found in results.items()]
    partial = docs.with_suffix(".part")
    partial.write_text(head + "\n\n".join([BEGIN, *blocks, END]) + tail, encoding="utf-8")
    partial.replace(docs)
    write_pages(results, docs.with_name("methods"))
    return True


def _manifest(out: Path, table: Table) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / table.name / "manifest.json").read_text())["config"]
    return found


def _evidence(out: Path, split: str) -> dict[str, Any] | None:
    path = out / f"evidence-{split}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _what(results: Mapping[Table, Mapping[str, Any]], weights: str) -> str:
    sizes = sorted({found["images"] for found in results.values()})
    seeds = sorted({len(found["seeds"]) for found in results.values()})
    span = "-".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1]))) if sizes else "no"
    return (
        f"The bundled model (weights {weights.removeprefix('sha256:')[:12]}), {span} scenes of "
        f"each split, {' to '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'}. "
        "Figures in percent, differences in points, "
        "intervals 95% over scenes, p-values after Holm's correction within a table."
        + (_OF_POPE if any(table.task == "pope" for table in results) else "")
    )


def _details(table: Table, found: Mapping[str, Any]) -> str:
    summary = (
        f"{TASKS[table.task].capitalize()}, {table.title}: "
        f"{found['images']} scenes, {found['items']} questions"
    )
    body = as_markdown(found)
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def as_markdown(found: Mapping[str, Any]) -> str:
    """One table as Markdown."""
    from findings import signed

    primary, *beside = found["headline"][:3]
    lines = [
        f"| method | {primary} | {' | '.join(beside)} | against regular | against best control | "
        "verdict |",
        "| --- |" + " --- |" * (4 + len(beside)),
    ]
    for row in found["rows"]:
        regular, best = row["versus_regular"], row["versus_best_control"]
        cells = [
            f"{row['method']}{' (control)' if row['control'] else ''}",
            _estimate(row["metrics"][primary]),
            *(_plain(found["metrics"][n], row["metrics"][n]["mean"]) for n in beside),
            signed(regular) if regular else "",
            f"{signed(best)} ({best['against']})" if best else "",
            row["verdict"] or "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _plain(metric: Mapping[str, Any], value: float) -> str:
    return f"{100 * value if metric['unit'] == 'share' else value:.1f}"


def _estimate(value: Mapping[str, Any]) -> str:
    if value["low"] is None:
        return f"{100 * value['mean']:.1f}"
    return f"{100 * value['mean']:.1f} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def plot(tables: Mapping[Table, Mapping[str, Any]], path: Path) -> None:
    """The primary metric by method, with its interval: a row by temperature, a column by split."""
    import matplotlib as mpl

    across = list(dict.fromkeys(table.split for table in tables))
    down = list(dict.fromkeys(table.temperature for table in tables))
    rows = max(len(found["rows"]) for found in tables.values())
    figure = Figure(
        figsize=(3.4 * len(across) + 1.6, (0.9 + 0.19 * rows) * len(down)), layout="constrained"
    )
    grid = figure.subplots(len(down), len(across), sharey=True, sharex="row", squeeze=False)
    for table, found in tables.items():
        axis = grid[down.index(table.temperature)][across.index(table.split)]
        for place, row in enumerate(found["rows"]):
            value = row["metrics"][found["primary"]]
            axis.errorbar(
                100 * value["mean"],
                place,
                xerr=_spread(value),
                fmt="s" if row["control"] else "o",
                color=CONTROL if row["control"] else METHOD if place else REGULAR,
                capsize=2,
            )
        axis.set_title(table.title)
        axis.grid(axis="x", alpha=0.3)
        axis.set_yticks(range(len(found["rows"])), [row["method"] for row in found["rows"]])
        axis.set_xlabel(_axis(found))
    grid[0][0].invert_yaxis()
    with mpl.rc_context({"svg.hashsalt": "secondsight", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _spread(value: Mapping[str, Any]) -> list[list[float]] | None:
    if value["low"] is None:
        return None
    below, above = value["mean"] - value["low"], value["high"] - value["mean"]
    # A percentile interval may lie beside the mean of a tiny sample: never a negative bar.
    return [[100 * max(0.0, below)], [100 * max(0.0, above)]]


def _axis(found: Mapping[str, Any]) -> str:
    metric = found["metrics"][found["primary"]]
    return f"{metric['title']}, % ({metric['better']} is better)"
