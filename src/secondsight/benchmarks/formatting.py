"""Figures of a comparison as text, for the terminal and for reports alike."""

from __future__ import annotations

from secondsight.benchmarks.comparison import CUT_TO, Comparison, Estimate, Paired, Row, Transitions
from secondsight.benchmarks.length_control import Baseline, Figure, LengthControl, LengthRow
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
    return f"{text}, {_p(paired.p_holm)}" + (f" ({paired.against})" if named else "")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def transitions_text(transitions: Transitions | None) -> str:
    """``3 (2 right) / 1 (1 right)``."""
    if transitions is None:
        return ""
    return (
        f"{transitions.yes_to_no} ({transitions.yes_to_no_right} right) / "
        f"{transitions.no_to_yes} ({transitions.no_to_yes_right} right)"
    )


def length_columns(comparison: Comparison, lengths: LengthControl) -> list[str]:
    """The heads of the table that holds captions against shorter ones."""
    errors = comparison.metric(lengths.errors).label
    return [
        "method",
        "words",
        f"{errors} at equal recall",
        f"{errors} against {lengths.reference} at its length",
        "made up at equal length",
        f"{errors} of a caption at equal length",
    ]


def length_cells(row: LengthRow, comparison: Comparison, lengths: LengthControl) -> list[str]:
    """A method's cells in that table, as text."""
    errors, recall = comparison.metric(lengths.errors), comparison.metric(lengths.recall)
    cells = [f"{row.method} (control)" if row.control else row.method, f"{row.words:.1f}"]
    if row.method == lengths.reference:
        return [*cells, figure_text(row.distance, errors.factor), "", "", ""]
    return [
        *cells,
        distance_text(row, errors),
        f"{figure_text(row.equal_length, errors.factor)}, "
        f"{recall.label.lower()} {figure_text(row.equal_length_recall, recall.factor)}",
        figure_text(row.residual, digits=2),
        figure_text(row.residual_share, 100),
    ]


def distance_text(row: LengthRow, errors: Metric) -> str:
    """``-1.4 [-2.7, -0.3], p 0.016``, and whether no baseline recalls as much."""
    parts = [figure_text(row.distance, errors.factor)]
    parts += [_p(row.distance_p)] if row.distance_p is not None else []
    return ", ".join([*parts, *(["recalls more"] if row.beyond else [])])


def figure_text(figure: Figure, factor: float = 1, digits: int = 1) -> str:
    """``-1.4 [-2.7, -0.3]``."""
    text = f"{factor * figure.value:+.{digits}f}"
    if figure.low is None or figure.high is None:
        return text
    return f"{text} [{factor * figure.low:+.{digits}f}, {factor * figure.high:+.{digits}f}]"


def baseline_columns(comparison: Comparison, lengths: LengthControl) -> list[str]:
    """The heads of the table of captions cut short."""
    recall, errors = comparison.metric(lengths.recall), comparison.metric(lengths.errors)
    return [f"{lengths.reference}, cut to", "words", recall.label, errors.label, "on the frontier"]


def baseline_cells(one: Baseline, comparison: Comparison, lengths: LengthControl) -> list[str]:
    """The cells of captions cut in one way, as text."""
    recall, errors = comparison.metric(lengths.recall), comparison.metric(lengths.errors)
    return [
        one.cut,
        f"{one.words:.1f}",
        f"{recall.factor * one.recall:.1f}",
        f"{errors.factor * one.errors:.1f}",
        "yes" if one.frontier else "",
    ]


def length_reading(comparison: Comparison, lengths: LengthControl) -> list[str]:
    """What to know when reading those tables."""
    errors, recall = (
        comparison.metric(lengths.errors).label,
        comparison.metric(lengths.recall).label,
    )
    regular = lengths.reference
    return [
        f"At equal recall: {errors} minus the least that {regular}'s captions reach with as much "
        f"{recall.lower()} when they are cut short; below zero is better than any cut. "
        f'{regular.capitalize()}\'s own is what cutting alone would gain. "Recalls more": no cut '
        "recalls as much, and the distance is to the one that recalls most. What a control reaches "
        "too is sharpening here as well.",
        f"Against {regular} at its length: minus {regular}'s captions cut, image by image, to the "
        "method's number of words.",
        f"At equal length: made-up mentions per caption, and {errors} of a caption, minus "
        f"{regular}'s, after least squares with an effect of the image, of the method, and of the "
        f"caption's length. A further word comes with {figure_text(lengths.slope, digits=3)} "
        "made-up mentions. With two or three methods the slope is their own: trust the other "
        "columns more.",
    ]


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
    if any(row.method.startswith(CUT_TO) for row in comparison.rows):
        notes.append(
            f"{CUT_TO.capitalize()}a method: regular decoding's captions, each cut to the number "
            "of words of that method's; a control of that method alone."
        )
    if any(row.transitions is not None for row in comparison.rows):
        notes.append(
            "yes→no / no→yes count the answers that changed against regular decoding, and how "
            "many of them are right now, summed over seeds."
        )
    return notes
