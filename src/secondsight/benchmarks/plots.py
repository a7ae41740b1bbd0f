"""The report's plots as SVG text, so that a page with them opens without a network."""

from __future__ import annotations

import io

from secondsight.benchmarks.comparison import Comparison, Row, in_percent
from secondsight.extras import needed

with needed("eval", "A report with plots"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

# Metrics in one panel each, and a pair whose trade-off is the point, by what is measured.
_PANELS = ("accuracy", "yes_ratio", "amber_score", "chair_i", "mean_length", "hallucination")
_TRADE = (("recall", "chair_i"), ("cover", "chair"))
_NAMES = {
    "accuracy": "accuracy, %",
    "yes_ratio": "share of yes among the answers, %",
    "amber_score": "AMBER score",
    "chair_i": "CHAIRi, % (less is better)",
    "chair": "CHAIR, % (less is better)",
    "cover": "Cover, % (more is better)",
    "recall": "recall, % (more is better)",
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


def _value(row: Row, name: str) -> float:
    return row.metrics[name].mean * (100 if in_percent(name) else 1)


def _error(row: Row, name: str) -> list[list[float]] | None:
    estimate, factor = row.metrics[name], 100 if in_percent(name) else 1
    if estimate.low is None or estimate.high is None:
        return None
    # The percentile interval may lie beside the mean of a tiny sample: never a negative bar.
    below, above = estimate.mean - estimate.low, estimate.high - estimate.mean
    return [[factor * max(0.0, below)], [factor * max(0.0, above)]]


def _panels(comparison: Comparison, names: list[str]) -> str:
    rows = comparison.rows
    figure = Figure(figsize=(3.6 * len(names) + 1.2, 0.36 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        for place, row in enumerate(rows):
            axis.errorbar(
                _value(row, name),
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
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
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
    axis.set_xlabel(_NAMES[across])
    axis.set_ylabel(_NAMES[upward])
    axis.grid(alpha=0.3)
    _label(axis, comparison, across, upward)
    return _svg(figure)


def _label(axis: Axes, comparison: Comparison, across: str, upward: str) -> None:
    """Names the points, those too close together in one column of names."""
    wide, high = (high - low for low, high in (axis.get_xlim(), axis.get_ylim()))
    placed: list[tuple[float, float, int]] = []
    for row in sorted(comparison.rows, key=lambda row: _value(row, upward)):
        x, y = _value(row, across), _value(row, upward)
        near = [p for p in placed if abs(p[0] - x) < 0.2 * wide and abs(p[1] - y) < 0.045 * high]
        line = 1 + max((p[2] for p in near), default=-1)
        placed.append((x, y, line))
        axis.annotate(
            row.method,
            (x, y),
            textcoords="offset points",
            xytext=(6, 5 + 10 * line),
            fontsize=8,
            color=_colour(row),
        )


def _svg(figure: Figure) -> str:
    """The figure as an SVG element, the same text for the same figures."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "secondsight", "svg.fonttype": "none"}):
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
