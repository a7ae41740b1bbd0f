"""Answers on standard output for programs: a JSON object a line, or a CSV table."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer

from secondsight.answers_file import AnswersFile
from secondsight.cli.answers import Key

COLUMNS: Final = ("image", "question", "id", "text", "finish_reason", "error")


def as_json(record: Mapping[str, Any]) -> None:
    """Write a record as a line of JSON."""
    typer.echo(json.dumps(record, ensure_ascii=False))


class Csv:
    """Writes records as rows (RFC 4180), the columns' names before the first."""

    def __init__(self) -> None:
        self._rows = 0

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Write a record as a row."""
        if not self._rows:
            self._write(COLUMNS)
        self._rows += 1
        self._write([_cell(record.get(name)) for name in COLUMNS])

    @staticmethod
    def _write(cells: Sequence[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        typer.echo(text.getvalue(), nl=False)


def in_order(keys: Sequence[Key], answers: AnswersFile[Key]) -> None:
    """Write a file's answers as a table, in the order of a list.

    Args:
        keys: What the list asks.
        answers: The file.
    """
    found: defaultdict[Key, list[dict[str, Any]]] = defaultdict(list)
    for record in answers.records():
        found[Key.of(record)].append(record)
    write = Csv()
    for key in keys:
        if found[key]:
            write(found[key].pop(0))


def _cell(value: Any) -> str:
    """Several images of one question are a JSON list; nothing is an empty cell."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)
