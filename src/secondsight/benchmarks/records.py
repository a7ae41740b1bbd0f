"""Reading benchmark files: JSON, JSON lines and what to do about bad records.

Every problem names the file and the line. In strict mode (the default) all problems of a file
are collected and raised together; in lenient mode they are counted and returned as warnings.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secondsight.errors import DataError
from secondsight.files import PathLike, parse_json, read_text

_SHOWN: Final = 20
_LONGEST: Final = 600
"""Characters of a message; what a file holds may be of any length."""
_CONVERTED: Final[Mapping[str, str]] = {
    ".xlsx": "read_excel",
    ".xls": "read_excel",
    ".parquet": "read_parquet",
    ".pkl": "read_pickle",
}
"""Files that are no text, and what reads them."""


@dataclass(frozen=True)
class Record:
    """One JSON object of a file and the place it stands, for messages."""

    data: dict[str, Any]
    where: str


class Problems:
    """Collects what is wrong with the input of one scoring run.

    Args:
        lenient: Count the problems and go on, instead of raising.
    """

    def __init__(self, *, lenient: bool) -> None:
        self.lenient = lenient
        self._first: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._messages: list[str] = []

    def add(self, kind: str, message: str) -> None:
        """Notes one problem of a kind such as ``"unknown question_id"``."""
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST - 4]} ..."
        self._first.setdefault(kind, message)
        self._counts[kind] += 1
        self._messages.append(message)

    def settle(self) -> tuple[str, ...]:
        """Raises what was collected, or returns it as counted warnings in lenient mode.

        Raises:
            DataError: In strict mode, if there was any problem.
        """
        if not self._messages:
            return ()
        if not self.lenient:
            shown = self._messages[:_SHOWN]
            more = len(self._messages) - len(shown)
            tail = [f"... and {more} more"] if more else []
            advice = "Mend the files, or use --lenient (lenient=True) to leave these out, counted."
            raise DataError("\n".join([*shown, *tail, advice]))
        return tuple(
            f"{count} x {kind} (first: {self._first[kind]})"
            for kind, count in sorted(self._counts.items())
        )


def read_records(path: PathLike, problems: Problems) -> list[Record]:
    """Reads the records of a file.

    Args:
        path: JSON lines (blank ones are skipped), one JSON array of objects, the log of a harness
            that holds one under ``logs``, or a table with a heading (``.csv``, ``.tsv``).
        problems: Receives lines that are no JSON object.

    Raises:
        DataError: If the file is unreadable or holds no record at all.
    """
    refuse_binary(path)
    table = {".csv": ",", ".tsv": "\t"}.get(Path(path).suffix.lower())
    records = list(_records(path, problems) if table is None else _rows(path, table, problems))
    if not records:
        problems.settle()
        raise DataError(f"{path}: holds no usable record")
    return records


def refuse_binary(path: PathLike) -> None:
    """Refuses kinds of files that have to be converted first, with the command that does it.

    Raises:
        DataError: The file is a spreadsheet, parquet or a pickle.
    """
    reader = _CONVERTED.get(Path(path).suffix.lower())
    if reader is not None:
        raise DataError(
            f'{path}: is no text. Convert it first: python -c "import pandas as p; '
            f"p.{reader}({str(path)!r}).to_json('answers.jsonl', orient='records', lines=True)\""
        )


def _records(path: PathLike, problems: Problems) -> Iterator[Record]:
    text = read_text(path)
    whole = _document(text, path)
    if whole is not None:
        for index, entry in enumerate(whole, start=1):
            yield from _record(entry, f"{path}: record {index}", "malformed record", problems)
        return
    # Only \n ends a line: JSON strings may hold other separators, such as U+2028, unescaped.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            entry = parse_json(line, where)
        except DataError as error:
            problems.add("malformed line", str(error))
            continue
        yield from _record(entry, where, "malformed line", problems)


def _document(text: str, path: PathLike) -> list[Any] | None:
    """The records of a file that is one JSON document, None if its lines are."""
    begins = text.lstrip()[:1]
    if begins == "[":
        document = parse_json(text, str(path))
        return document if isinstance(document, list) else None
    if begins != "{":
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None  # several lines, or a broken one
    logs = document.get("logs") if isinstance(document, dict) else None
    if isinstance(logs, list):
        return logs
    if "\n" in text.strip():
        raise DataError(
            f"{path}: one JSON object over several lines ({_named(document)}); one object a line, "
            "or a list of them, was expected"
        )
    return None


def _record(entry: Any, where: str, kind: str, problems: Problems) -> Iterator[Record]:
    if not isinstance(entry, dict):
        problems.add(kind, f"{where}: not a JSON object")
    else:
        yield Record(entry, where)


def _rows(path: PathLike, delimiter: str, problems: Problems) -> Iterator[Record]:
    csv.field_size_limit(1 << 30)  # tables of benchmarks may hold their images
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    try:
        for row in rows:
            where = f"{path}:{rows.line_num}"
            # Fields too many stand under None, those too few are None.
            if None in row or None in row.values():
                problems.add(
                    "malformed line",
                    f"{where}: {len(rows.fieldnames or ())} fields "
                    "were expected, as in the heading",
                )
            else:
                yield Record(dict(row), where)
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: not a table ({error})") from None


def _named(fields: Iterable[str]) -> str:
    names = sorted(map(str, fields))
    return ", ".join(map(repr, names[:6])) + (", ..." if len(names) > 6 else "")


def text_field(record: Record, names: Sequence[str], problems: Problems) -> str | None:
    """The first of several fields that the record has, which must be text.

    Args:
        record: The record.
        names: The fields' names.
        problems: Receives a record without any of them, or with something else in it.
    """
    for name in names:
        value = record.data.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            problems.add(
                "field of another kind", f"{record.where}: {name!r} is {kind_of(value)}, not text"
            )
            return None
    _add_missing(record, names, problems)
    return None


def id_field(record: Record, names: Sequence[str], problems: Problems) -> str | None:
    """The first of several fields that the record has: text or a whole number, as text.

    Args:
        record: The record.
        names: The fields' names.
        problems: Receives a record without any of them, or with something else in it.
    """
    for name in names:
        value = record.data.get(name)
        if value is not None:
            found = as_id(value)
            if found is None:
                problems.add(
                    "field of another kind",
                    f"{record.where}: {name!r} is {kind_of(value)}, neither text nor a whole "
                    "number",
                )
            return found
    _add_missing(record, names, problems)
    return None


def _add_missing(record: Record, names: Sequence[str], problems: Problems) -> None:
    asked = " or ".join(map(repr, names))
    there = _named(record.data) or "none"
    problems.add("missing field", f"{record.where}: no field {asked} (there are: {there})")


def as_id(value: Any) -> str | None:
    """Text or a whole number as text, None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):  # as tables write whole numbers beside gaps
        return str(int(value)) if value.is_integer() else None
    if not isinstance(value, str | int):
        return None
    try:
        return str(value)
    except ValueError:  # more digits than Python writes
        return None


def kind_of(value: Any) -> str:
    """What a value of JSON is, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
