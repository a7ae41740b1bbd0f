"""Scores as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.box import HORIZONTALS
from rich.console import Group, RenderableType
from rich.table import Table

from secondsight.benchmarks.comparison import Comparison
from secondsight.benchmarks.formatting import (
    distance_text,
    estimate_text,
    figure_text,
    paired_text,
)
from secondsight.benchmarks.length_control import LengthControl

# Columns that together fit a narrow terminal; the verdict's longest word sets its own.
_NARROW, _WIDTHS = 110, (10, 8, 8, 8, 9, 10)
_VERDICT = len("distinguishable")


def shown(value: object) -> str:
    """A number as tables show it: counts whole, fractions with four digits, None as a dash."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def score_tables(title: str, score: Mapping[str, Any]) -> Group:
    """A score, whatever its parts: single figures, and a line for each of several alike.

    Args:
        title: What stands above.
        score: The score, JSON-ready; lists of more than names (the detail) are left out.
    """
    listing = Table("figure", "value", title=title)
    listing.columns[1].justify = "right"
    tables: list[RenderableType] = []
    notes: list[str] = []
    _collect("", score, listing, tables, notes)
    return Group(*([listing] if listing.row_count else [title]), *tables, *notes)


def _collect(
    prefix: str,
    score: Mapping[str, Any],
    listing: Table,
    tables: list[RenderableType],
    notes: list[str],
) -> None:
    for name, value in score.items():
        full = f"{prefix} {name}".strip()
        if isinstance(value, Mapping):
            alike = {tuple(one) if isinstance(one, Mapping) else None for one in value.values()}
            if len(alike) == 1 and None not in alike:
                tables.append(_matrix(full, value))
            else:
                _collect(full, value, listing, tables, notes)
        elif not isinstance(value, list):
            listing.add_row(full, shown(value))
        elif name != "warnings" and value and all(isinstance(one, str) for one in value):
            notes.append(f"{full}: {', '.join(value)}")


def _matrix(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """A line for each of several scores with the same figures."""
    names = list(next(iter(rows.values())))
    table = Table(title, *(name.replace("_", " ") for name in names), padding=(0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row, values in rows.items():
        table.add_row(row, *(shown(values[name]) for name in names))
    return table


def runs_table(title: str, runs: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each of several runs: their single figures.

    Args:
        title: The table's title.
        runs: The scores, JSON-ready, each with ``method`` and ``seed``.
    """
    names = [name for name, value in runs[0].items() if not isinstance(value, Mapping | list)]
    table = Table(*(name.replace("_", " ") for name in names), title=title)
    for run in runs:
        table.add_row(*(shown(run.get(name)) for name in names))
    return table


def comparison_table(comparison: Comparison, title: str, width: int = 80) -> Table:
    """The table for the terminal: the primary metric and the two that must be read beside it.

    Args:
        comparison: What to show.
        title: The benchmark's title.
        width: Characters in a line of the terminal.
    """
    questions = f"{comparison.items} questions, {comparison.images} images"
    primary, *beside = comparison.shown[:3]
    table = Table(
        "method",
        *(metric.label for metric in (primary, *beside)),
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
        found = row.metrics
        table.add_row(
            f"{row.method}\n(control)" if row.control else row.method,
            estimate_text(primary, found[primary.name]).replace(" [", "\n["),
            *(estimate_text(one, replace(found[one.name], low=None)) for one in beside),
            _stacked(paired_text(comparison.primary, row.versus_regular, named=False)),
            _stacked(paired_text(comparison.primary, row.versus_best_control, named=True)),
            row.verdict or "",
        )
    return table


def length_table(comparison: Comparison, lengths: LengthControl) -> Table:
    """Captions held against shorter ones, for the terminal."""
    errors = comparison.metric(lengths.errors)
    table = Table(
        "method",
        "words",
        f"{errors.label} at equal recall",
        f"against {lengths.reference} at its length",
        "made up at equal length",
        title=f"Better, or only shorter? {errors.label} against captions cut short",
        caption="95% intervals over images; p by Holm; below zero is better",
        box=HORIZONTALS,
        padding=0,
        pad_edge=False,
        show_lines=True,
    )
    for row in lengths.rows:
        own = row.method == lengths.reference
        table.add_row(
            f"{row.method}\n(control)" if row.control else row.method,
            f"{row.words:.1f}",
            _stacked(distance_text(row, errors)),
            "" if own else _stacked(figure_text(row.equal_length, errors.factor)),
            "" if own else _stacked(figure_text(row.residual, digits=2)),
        )
    for column in table.columns:
        column.overflow = "fold"
    return table


def _stacked(text: str) -> str:
    return text.replace(" [", "\n[").replace("], ", "]\n").replace(" (", "\n(")
