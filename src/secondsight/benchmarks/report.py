"""A run's scores and reports: ``scores.json``, ``report.md``, ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from rich.box import HORIZONTALS
from rich.table import Table

from secondsight.benchmarks.base import Benchmark
from secondsight.benchmarks.comparison import (
    Comparison,
    Estimate,
    Paired,
    Row,
    Transitions,
    in_percent,
)
from secondsight.benchmarks.plots import plots
from secondsight.benchmarks.run import MANIFEST, REPORT_HTML, REPORT_MD, SCORES, Run
from secondsight.extras import needed
from secondsight.files import read_json

with needed("eval", "A report"):
    import jsonschema

# Columns that together fit a narrow terminal; the verdict's longest word sets its own.
_NARROW, _WIDTHS = 110, (10, 8, 8, 8, 9, 10)
_VERDICT = len("distinguishable")


def schema() -> dict[str, Any]:
    """The JSON schema of ``scores.json``."""
    source = resources.files("secondsight.benchmarks") / "scores.schema.json"
    loaded: dict[str, Any] = json.loads(source.read_text("utf-8"))
    return loaded


def write_reports(run: Run, comparison: Comparison, benchmark: Benchmark) -> None:
    """Writes the scores, validated, and both reports."""
    # Through text, because asdict keeps tuples, which no schema knows.
    text = json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False)
    jsonschema.validate(json.loads(text), schema())
    run.write(SCORES, text + "\n")
    manifest = read_json(run.folder / MANIFEST)
    environment = Environment(
        loader=PackageLoader("secondsight.benchmarks"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values = {
        "title": benchmark.title,
        "comparison": comparison,
        "columns": columns(comparison),
        "table": [cells(row, comparison) for row in comparison.rows],
        "reading": _reading(comparison),
        "manifest": manifest,
        "manifest_text": json.dumps(manifest, indent=2, ensure_ascii=False),
        "plots": [Markup(plot) for plot in plots(comparison)],
    }
    run.write(REPORT_MD, environment.get_template("report.md.j2").render(values))
    run.write(REPORT_HTML, environment.get_template("report.html.j2").render(values))


def columns(comparison: Comparison) -> list[str]:
    """The heads of the table's columns."""
    changes = any(row.transitions is not None for row in comparison.rows)
    return [
        "method",
        *comparison.headline,
        "against regular",
        "against best control",
        *(["yes→no / no→yes"] if changes else []),
        "verdict",
    ]


def cells(row: Row, comparison: Comparison) -> list[str]:
    """A row's cells, as text."""
    changes = any(other.transitions is not None for other in comparison.rows)
    name = f"{row.method} (control)" if row.control else row.method
    return [
        name,
        *(estimate_text(metric, row.metrics[metric]) for metric in comparison.headline),
        paired_text(comparison.primary, row.versus_regular, named=False),
        paired_text(comparison.primary, row.versus_best_control, named=True),
        *([_transitions_text(row.transitions)] if changes else []),
        row.verdict or "",
    ]


def comparison_table(comparison: Comparison, title: str, width: int = 80) -> Table:
    """The table for the terminal: the primary metric and the two that must be read beside it.

    Args:
        comparison: What to show.
        title: The benchmark's title.
        width: Characters in a line of the terminal.
    """
    questions = f"{comparison.items} questions, {comparison.images} images"
    primary, *beside = comparison.headline[:3]
    table = Table(
        "method",
        *(name.replace("_", " ") for name in (primary, *beside)),
        "against regular",
        "against best control",
        "verdict",
        title=f"{title}: {questions}, seeds {', '.join(map(str, comparison.seeds))}",
        caption="percent (totals, lengths as they are); 95% intervals over images; p by Holm",
        box=HORIZONTALS,
        padding=0,
        pad_edge=False,
        show_lines=True,
    )
    for column, most in zip(table.columns, _WIDTHS, strict=False):
        column.overflow = "fold"  # nothing is lost
        column.max_width = most if width < _NARROW else None
    table.columns[-1].min_width = _VERDICT
    for row in comparison.rows:
        table.add_row(
            f"{row.method}\n(control)" if row.control else row.method,
            estimate_text(primary, row.metrics[primary]).replace(" [", "\n["),
            *(estimate_text(name, replace(row.metrics[name], low=None)) for name in beside),
            _stacked(paired_text(comparison.primary, row.versus_regular, named=False)),
            _stacked(paired_text(comparison.primary, row.versus_best_control, named=True)),
            row.verdict or "",
        )
    return table


def _stacked(text: str) -> str:
    return text.replace(" [", "\n[").replace("], ", "]\n").replace(" (", "\n(")


def estimate_text(metric: str, estimate: Estimate) -> str:
    """``85.2 [82.1, 88.0]``; fractions in percent."""
    factor = 100 if in_percent(metric) else 1
    text = f"{factor * estimate.mean:.1f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{factor * estimate.low:.1f}, {factor * estimate.high:.1f}]"


def paired_text(metric: str, paired: Paired | None, *, named: bool) -> str:
    """``+1.5 [0.2, 2.8], p 0.031``, with the other method's name if asked."""
    if paired is None:
        return ""
    factor = 100 if in_percent(metric) else 1
    text = f"{factor * paired.difference:+.1f}"
    if paired.low is not None and paired.high is not None:
        text += f" [{factor * paired.low:.1f}, {factor * paired.high:.1f}]"
    p = "p < 0.001" if paired.p_holm < 0.001 else f"p {paired.p_holm:.3f}"
    return f"{text}, {p}" + (f" ({paired.against})" if named else "")


def _transitions_text(transitions: Transitions | None) -> str:
    if transitions is None:
        return ""
    return (
        f"{transitions.yes_to_no} ({transitions.yes_to_no_right} right) / "
        f"{transitions.no_to_yes} ({transitions.no_to_yes_right} right)"
    )


def _reading(comparison: Comparison) -> list[str]:
    """What to know when reading the table, for this run."""
    direction = "more" if comparison.higher_is_better else "less"
    notes = [
        f"Comparisons and verdicts are about {comparison.primary} ({direction} is better). "
        "Fractions are in percent.",
        "Intervals are 95%, by bootstrap over images: questions about one image are not "
        "independent.",
        "A control has the form of a contrastive method without its idea: greedy decoding, the "
        "plausibility constraint alone, a lower temperature, RITUAL with the untouched image. A "
        "gain over regular decoding that a control has too is sharpening, not insight.",
        "p-values are corrected by Holm over all comparisons of the table.",
    ]
    metrics: Mapping[str, Estimate] = comparison.rows[0].metrics
    if "mean_length" in metrics:
        notes.append(
            "Read CHAIR beside recall and length: a method that says less is not one that errs "
            "less."
        )
    if any(row.transitions is not None for row in comparison.rows):
        notes.append(
            "yes→no / no→yes count the answers that changed against regular decoding, and how "
            "many of them are right now, summed over seeds."
        )
    return notes
