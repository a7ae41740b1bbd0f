"""Captions against captions cut short: tables, sentences and the plot of the frontier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tables import Table

from secondsight.extras import needed

with needed("eval", "The comparison of methods"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Scores = Mapping[str, Any]
METHOD, CONTROL, REGULAR = "#2457a6", "#9a6a16", "#444444"

_ALPHA = 0.05


def shorter(results: Mapping[Table, Scores]) -> list[str]:
    """For each temperature what methods reach beyond regular's captions cut short."""
    held = {table: found for table, found in results.items() if found.get("lengths")}
    blocks = []
    for temperature in dict.fromkeys(table.temperature for table in held):
        tables = {t: found for t, found in held.items() if t.temperature == temperature}
        how = "greedy" if temperature == 0 else "temperature 1"
        blocks += [
            f"**Better, or only shorter? Captions, {how}** (CHAIRi above the least that regular's "
            "captions reach at the same recall when they are cut short; in brackets CHAIRi "
            "above regular's captions cut to the method's own length, and made-up mentions per "
            "caption beyond regular's that length does not explain)",
            _table(tables),
            " ".join(_sentences(tables)),
        ]
    return blocks


def _table(tables: Mapping[Table, Scores]) -> str:
    methods = dict.fromkeys(
        (row["method"], row["control"])
        for found in tables.values()
        for row in found["lengths"]["rows"]
    )
    lines = [
        f"| method | {' | '.join(f'`{table.split}`' for table in tables)} |",
        "| --- |" + " --- |" * len(tables),
    ]
    for method, control in methods:
        cells = [_cell(found["lengths"], method) for found in tables.values()]
        name = f"*{method}*" if control or method == "regular" else method
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(lengths: Mapping[str, Any], method: str) -> str:
    row = next((row for row in lengths["rows"] if row["method"] == method), None)
    if row is None:
        return ""
    distance = row["distance"]
    text = f"{100 * distance['value']:+.1f}"
    if distance["low"] is not None:
        text += f" [{100 * distance['low']:+.1f}, {100 * distance['high']:+.1f}]"
    if method == lengths["reference"]:
        return text
    alike, residual = row["equal_length"]["value"], row["residual"]["value"]
    text += f" ({100 * alike:+.1f}; {residual:+.2f})"
    return f"{text} **{side}**" if (side := _side(row)) else text


def _side(row: Mapping[str, Any]) -> str | None:
    """On which side of the frontier a method is seen to lie; None where that is not told."""
    if row["distance_p"] is None or row["distance_p"] >= _ALPHA:
        return None
    return "below" if row["distance"]["value"] < 0 else "above"


def _sentences(tables: Mapping[Table, Scores]) -> list[str]:
    """Which methods lie below or above, and whether controls lie as far below."""
    found = []
    for side, meaning in (
        ("below", "Below the frontier, so better than regular cut short anywhere"),
        ("above", "Above it, so worse than some cut of regular"),
    ):
        where: dict[str, list[str]] = {}
        for table, scores in tables.items():
            for row in scores["lengths"]["rows"]:
                if _side(row) == side:
                    where.setdefault(row["method"], []).append(f"`{table.split}`")
        cases = "; ".join(f"{method} ({', '.join(splits)})" for method, splits in where.items())
        found.append(f"{meaning}: {cases}." if cases else f"No method is {side} the frontier.")
    for table, scores in tables.items():
        rows = scores["lengths"]["rows"]
        controls = [row for row in rows if row["control"]]
        methods = [row for row in rows if not row["control"] and row["method"] != "regular"]
        if controls and methods:
            best = min(controls, key=lambda row: row["distance"]["value"])
            lower = [r for r in methods if r["distance"]["value"] < best["distance"]["value"]]
            names = f": {', '.join(r['method'] for r in lower)}" if lower else ""
            beyond = sum(row["beyond"] for row in methods)
            more = (
                f", and {beyond} recall more than any cut and are held against the one that "
                "recalls most"
                if beyond
                else ""
            )
            found.append(
                f"On `{table.split}`, {len(lower)} of {len(methods)} methods lie by their mere "
                f"value below the control that lies lowest ({best['method']}){names}{more}."
            )
    return found


def frontier(results: Mapping[Table, Scores], path: Path) -> bool:
    """Plots recall against CHAIRi with the captions cut short: a row by temperature.

    Args:
        results: The scores of the finished tables.
        path: Where the plot goes.

    Returns:
        Whether there was anything to plot.
    """
    held = {table: found for table, found in results.items() if found.get("lengths")}
    if not held:
        return False
    across = list(dict.fromkeys(table.split for table in held))
    down = list(dict.fromkeys(table.temperature for table in held))
    figure = Figure(figsize=(3.4 * len(across) + 0.6, 3.0 * len(down) + 0.5), layout="constrained")
    grid = figure.subplots(len(down), len(across), squeeze=False)
    for axis in grid.flat:
        axis.set_visible(False)
    for table, found in held.items():
        axis = grid[down.index(table.temperature)][across.index(table.split)]
        axis.set_visible(True)
        _panel(axis, found)
        axis.set_title(table.title)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named))
    with mpl.rc_context({"svg.hashsalt": "secondsight", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    return True


def _panel(axis: Axes, found: Scores) -> None:
    lengths = found["lengths"]
    recall, errors = lengths["recall"], lengths["errors"]
    for row in found["rows"]:
        regular = row["method"] == lengths["reference"]
        axis.plot(
            100 * row["metrics"][recall]["mean"],
            100 * row["metrics"][errors]["mean"],
            "D" if regular else "s" if row["control"] else "o",
            color=REGULAR if regular else CONTROL if row["control"] else METHOD,
            alpha=0.8,
            label="regular" if regular else "control" if row["control"] else "method",
        )
    methods = axis.get_xlim()  # the shortest captions lie far to the left of any method
    points = [(100 * b["recall"], 100 * b["errors"], b["frontier"]) for b in lengths["baselines"]]
    line = sorted({(x, y) for x, y, there in points if there})
    axis.plot(
        [x for x, _, _ in points],
        [y for _, y, _ in points],
        "x",
        color=REGULAR,
        markersize=4,
        label="regular, cut short",
    )
    axis.plot(*zip(*line, strict=True), color=REGULAR, linewidth=1, label="their frontier")
    axis.set_xlim(methods[0] - 0.25 * (methods[1] - methods[0]), methods[1])
    axis.set_xlabel(f"{found['metrics'][recall]['title']}, %")
    axis.set_ylabel(f"{found['metrics'][errors]['title']}, %")
    axis.grid(alpha=0.3)
