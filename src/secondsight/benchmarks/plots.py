"""The report's plots as SVG text, so that a page with them opens without a network."""

from __future__ import annotations

import io

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from secondsight.benchmarks.comparison import Comparison, Row

# Metrics in one panel each, and a pair whose trade-off is the point, by what is measured.
_PANELS = ("accuracy", "yes_ratio", "amber_score", "chair_i", "mean_length", "hallucination")
_TRADE = (("recall", "chair_i"), ("cover", "chair"))
_NAMES = {
    "accuracy": "accuracy",
    "yes_ratio": "share of yes among the answers",
    "amber_score": "AMBER score",
    "chair_i": "CHAIRi (less is better)",
    "chair": "CHAIR (less is better)",
    "cover": "Cover (more is better)",
    "recall": "recall (more is better)",
    "mean_length": "words per caption",
    "hallucination": "hallucination total (points)",
}
_METHOD, _CONTROL = "#2457a6", "#9a6a16"


def plots(comparison: Comparison) -> list[str]:
    """The plots of a run: metrics with their intervals, and CHAIR against recall for captions."""
    captions = any(set(pair) <= set(comparison.rows[0].metrics) for pair in _TRADE)
    drawn = []
    for pair in _TRADE:
        if set(pair) <= set(comparison.rows[0].metrics):
            drawn.append(_trade(comparison, *pair))
    skipped = ("accuracy", "yes_ratio") if captions and comparison.benchmark == "chair" else ()
    names = [n for n in _PANELS if n in comparison.rows[0].metrics and n not in skipped]
    if names:
        drawn.append(_panels(comparison, names))
    return drawn


def _colour(row: Row) -> str:
    return _CONTROL if row.control else _METHOD


def _error(row: Row, name: str) -> list[list[float]] | None:
    estimate = row.metrics[name]
    if estimate.low is None or estimate.high is None:
        return None
    # The percentile interval may lie beside the mean of a tiny sample: never a negative bar.
    return [[max(0.0, estimate.mean - estimate.low)], [max(0.0, estimate.high - estimate.mean)]]


def _panels(comparison: Comparison, names: list[str]) -> str:
    rows = comparison.rows
    figure = Figure(figsize=(3.6 * len(names) + 1.2, 0.36 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        for place, row in enumerate(rows):
            axis.errorbar(
                row.metrics[name].mean,
                place,
                xerr=_error(row, name),
                fmt="s" if row.control else "o",
                color=_colour(row),
                capsize=3,
            )
        axis.set_xlabel(_NAMES[name])
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(rows)), [row.method for row in rows])
    axes[0].invert_yaxis()
    return _svg(figure)


def _trade(comparison: Comparison, across: str, upward: str) -> str:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis: Axes = figure.subplots()
    for row in comparison.rows:
        axis.errorbar(
            row.metrics[across].mean,
            row.metrics[upward].mean,
            xerr=_error(row, across),
            yerr=_error(row, upward),
            fmt="s" if row.control else "o",
            color=_colour(row),
            alpha=0.85,
            elinewidth=0.8,
        )
        axis.annotate(
            row.method,
            (row.metrics[across].mean, row.metrics[upward].mean),
            textcoords="offset points",
            xytext=(5, 5),
            fontsize=8,
        )
    axis.set_xlabel(_NAMES[across])
    axis.set_ylabel(_NAMES[upward])
    axis.grid(alpha=0.3)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    """The figure as an SVG element, the same text for the same figures."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "secondsight", "svg.fonttype": "none"}):
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
