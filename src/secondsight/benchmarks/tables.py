"""Scores as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from secondsight.benchmarks.amber import AmberResult
from secondsight.benchmarks.chair import ChairResult
from secondsight.benchmarks.mme import MmeResult
from secondsight.benchmarks.pope import YesNoResult

_YES_NO = ("accuracy", "precision", "recall", "f1", "yes_ratio", "n", "unparsed")
_CHAIR = ("chair_s", "chair_i", "recall", "precision", "f1", "mean_length", "n")


def shown(value: object) -> str:
    """A number as tables show it: counts whole, fractions with four digits, None as a dash."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _listing(title: str, values: Mapping[str, object]) -> Table:
    table = Table("metric", "value", title=title)
    table.columns[1].justify = "right"
    for name, value in values.items():
        table.add_row(name, shown(value))
    return table


def pope_table(result: YesNoResult, parser: str) -> Table:
    """The score of yes/no answers."""
    values = {name: getattr(result, name) for name in _YES_NO}
    return _listing(f"POPE, parser {parser}", values)


def chair_table(result: ChairResult) -> Table:
    """The score of captions."""
    return _listing("CHAIR", {name: getattr(result, name) for name in _CHAIR})


def mme_table(result: MmeResult) -> Table:
    """The score by task, and the totals."""
    table = Table("task", "accuracy", "accuracy+", "score", "other", title="MME")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, task in result.tasks.items():
        table.add_row(
            name,
            shown(task.accuracy),
            shown(task.accuracy_plus),
            f"{task.score:.2f}",
            str(task.other),
        )
    table.add_section()
    for name, total in result.totals.items():
        table.add_row(f"total {name}", "", "", "-" if total is None else f"{total:.2f}", "")
    return table


def amber_table(result: AmberResult) -> Table:
    """Both halves of the score."""
    values: dict[str, object] = {}
    if result.generative is not None:
        values |= {f"generative {name}": v for name, v in result.generative.__dict__.items()}
    if result.discriminative is not None:
        values |= {f"yes/no {name}": v for name, v in result.discriminative.__dict__.items()}
    for dimension, score in result.dimensions.items():
        values[f"{dimension} accuracy"], values[f"{dimension} f1"] = score.accuracy, score.f1
    values["AMBER score"] = result.amber_score
    return _listing("AMBER", values)
