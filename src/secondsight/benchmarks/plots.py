"""The report's plots as SVG text, so that a page with them opens without a network.

Colours are names of the page's own, so that the plots follow its light or dark theme.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

from secondsight.benchmarks.comparison import Comparison, Row
from secondsight.benchmarks.length_control import LengthControl
from secondsight.benchmarks.task import Metric
from secondsight.extras import needed

with needed("eval", "A report with plots"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

_METHOD, _CONTROL, _INK, _GRID = "#010101", "#020202", "#030303", "#040404"
_COLOURS: Final[Mapping[str, str]] = {
    _METHOD: "var(--method)",
    _CONTROL: "var(--control)",
    _INK: "currentColor",
    _GRID: "var(--line)",
}
"""Colours that stand for the page's in what matplotlib writes."""

_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "secondsight",
    "svg.fonttype": "none",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def plots(comparison: Comparison) -> list[str]:
    """The plots of a run: one metric against another, where two are, and metrics by method."""
    with mpl.rc_context(_STYLE):
        across = next((m for m in comparison.metrics if m.trade == "across"), None)
        upward = next((m for m in comparison.metrics if m.trade == "upward"), None)
        panels = [_panel(comparison, metric) for metric in comparison.metrics if metric.panel]
        if across is None or upward is None:
            return panels
        return [_trade(comparison, across, upward), *panels]


def _colour(row: Row) -> str:
    return _CONTROL if row.control else _METHOD


def _value(row: Row, metric: Metric) -> float:
    return row.metrics[metric.name].mean * metric.factor


def _error(row: Row, metric: Metric) -> list[list[float]] | None:
    estimate, factor = row.metrics[metric.name], metric.factor
    if estimate.low is None or estimate.high is None:
        return None
    # The percentile interval may lie beside the mean of a tiny sample: never a negative bar.
    below, above = estimate.mean - estimate.low, estimate.high - estimate.mean
    return [[factor * max(0.0, below)], [factor * max(0.0, above)]]


def _panel(comparison: Comparison, metric: Metric) -> str:
    rows = comparison.rows
    figure = Figure(figsize=(4.7, 0.3 * len(rows) + 0.9), layout="constrained")
    axis: Axes = figure.subplots()
    for place, row in enumerate(rows):
        axis.errorbar(
            _value(row, metric),
            place,
            xerr=_error(row, metric),
            fmt="s" if row.control else "o",
            color=_colour(row),
            capsize=3,
        )
    axis.set_xlabel(metric.axis)
    axis.grid(axis="x")
    axis.set_yticks(range(len(rows)), [_short(row.method) for row in rows])
    axis.invert_yaxis()
    return _svg(figure, f"{metric.label} by method")


def _trade(comparison: Comparison, across: Metric, upward: Metric) -> str:
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axis: Axes = figure.subplots()
    for row in comparison.rows:
        x, y = _value(row, across), _value(row, upward)
        axis.errorbar(
            x,
            y,
            xerr=_error(row, across),
            yerr=_error(row, upward),
            fmt="none",
            color=_colour(row),
            alpha=0.3,  # pale, because the bars of all methods cross
            elinewidth=0.8,
        )
        axis.plot(x, y, marker="s" if row.control else "o", color=_colour(row), alpha=0.85)
    if comparison.lengths is not None:
        _frontier(axis, comparison.lengths, across, upward)
    axis.set_xlabel(across.axis)
    axis.set_ylabel(upward.axis)
    axis.grid()
    _label(axis, comparison, across, upward)
    return _svg(figure, f"{upward.label} against {across.label}")


def _frontier(axis: Axes, lengths: LengthControl, across: Metric, upward: Metric) -> None:
    """The captions cut short, where methods are, and the line of the best."""
    points = [
        (across.factor * one.recall, upward.factor * one.errors, one.frontier)
        for one in lengths.baselines
    ]
    x, y, _ = zip(*points, strict=True)
    line = sorted({(x, y) for x, y, there in points if there})
    methods = axis.get_xlim()  # the shortest captions lie far to the left of any method
    axis.plot(x, y, "x", color=_INK, alpha=0.5, markersize=4)
    axis.plot(*zip(*line, strict=True), color=_INK, alpha=0.5, linewidth=1)
    axis.set_xlim(methods)


def _label(axis: Axes, comparison: Comparison, across: Metric, upward: Metric) -> None:
    """Names the points, those too close together in one column of names."""
    wide, high = (high - low for low, high in (axis.get_xlim(), axis.get_ylim()))
    placed: list[tuple[float, float, int]] = []
    for row in sorted(comparison.rows, key=lambda row: _value(row, upward)):
        x, y = _value(row, across), _value(row, upward)
        near = [p for p in placed if abs(p[0] - x) < 0.2 * wide and abs(p[1] - y) < 0.045 * high]
        line = 1 + max((p[2] for p in near), default=-1)
        placed.append((x, y, line))
        axis.annotate(
            _short(row.method),
            (x, y),
            textcoords="offset points",
            xytext=(6, 5 + 10 * line),
            fontsize=8,
            color=_colour(row),
        )


def _short(method: str) -> str:
    return method if len(method) <= 28 else f"{method[:27]}\u2026"


def _svg(figure: Figure, title: str) -> str:
    """The figure as an SVG element, the same text for the same figures."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title})
    text = buffer.getvalue()
    for colour, name in _COLOURS.items():
        text = text.replace(colour, name)
    return text[text.index("<svg") :].replace("<svg ", '<svg role="img" ', 1)
