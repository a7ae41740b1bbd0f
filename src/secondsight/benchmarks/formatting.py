"""Figures of a comparison as text, for the terminal and for reports alike."""

from __future__ import annotations

from secondsight.benchmarks.comparison import Comparison, Estimate, Paired, Row, Transitions
from secondsight.benchmarks.task import Metric

VERDICT = "verdict"


def columns(comparison: Comparison) -> list[str]:
    """The heads of a report's columns."""
    changes = any(row.transitions is not None for row in comparison.rows)
    return [
        "method",
        VERDICT,
        *(metric.label for metric in comparison.shown),
        "against regular",
        "against best control",
        *(["yes→no / no→yes"] if changes else []),
    ]


def cells(row: Row, comparison: Comparison) -> list[str]:
    """A row's cells, as text."""
    changes = any(other.transitions is not None for other in comparison.rows)
    primary = comparison.primary
    return [
        f"{row.method} (control)" if row.control else row.method,
        row.verdict or "",
        *(estimate_text(metric, row.metrics[metric.name]) for metric in comparison.shown),
        paired_text(primary, row.versus_regular, named=False),
        paired_text(primary, row.versus_best_control, named=True),
        *([transitions_text(row.transitions)] if changes else []),
    ]


def estimate_text(metric: Metric, estimate: Estimate) -> str:
    """``85.2 [82.1, 88.0]``; fractions in percent."""
    text = f"{metric.factor * estimate.mean:.1f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{metric.factor * estimate.low:.1f}, {metric.factor * estimate.high:.1f}]"


def paired_text(metric: Metric, paired: Paired | None, *, named: bool) -> str:
    """``+1.5 [0.2, 2.8], p 0.031``, with the other method's name if asked."""
    if paired is None:
        return ""
    text = f"{metric.factor * paired.difference:+.1f}"
    if paired.low is not None and paired.high is not None:
        text += f" [{metric.factor * paired.low:.1f}, {metric.factor * paired.high:.1f}]"
    p = "p < 0.001" if paired.p_holm < 0.001 else f"p {paired.p_holm:.3f}"
    return f"{text}, {p}" + (f" ({paired.against})" if named else "")


def transitions_text(transitions: Transitions | None) -> str:
    """``3 (2 right) / 1 (1 right)``."""
    if transitions is None:
        return ""
    return (
        f"{transitions.yes_to_no} ({transitions.yes_to_no_right} right) / "
        f"{transitions.no_to_yes} ({transitions.no_to_yes_right} right)"
    )


def reading(comparison: Comparison) -> list[str]:
    """What to know when reading the table, for this run."""
    primary = comparison.primary
    notes = [
        f"Comparisons and verdicts are about {primary.label}"
        f"{f' ({primary.better} is better)' if primary.better else ''}. "
        "Fractions are in percent.",
        "Intervals are 95%, by bootstrap over images: questions about one image are not "
        "independent.",
        "A control has the form of a contrastive method without its idea: greedy decoding, the "
        "plausibility constraint alone, a lower temperature, RITUAL with the untouched image. A "
        "gain over regular decoding that a control has too is sharpening, not insight.",
        "p-values are corrected by Holm over all comparisons of the table.",
    ]
    if any(metric.unit == "words" for metric in comparison.metrics):
        notes.append(
            "Read what is said falsely beside what is said at all, and at what length: a method "
            "that says less is not one that errs less."
        )
    if any(row.transitions is not None for row in comparison.rows):
        notes.append(
            "yes→no / no→yes count the answers that changed against regular decoding, and how "
            "many of them are right now, summed over seeds."
        )
    return notes
