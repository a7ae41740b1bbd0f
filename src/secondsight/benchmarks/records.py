"""Reading benchmark files: JSON, JSON lines and what to do about bad records.

Every problem names the file and the line. In strict mode (the default) all problems of a file
are collected and raised together; in lenient mode they are counted and returned as warnings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from secondsight.errors import DataError
from secondsight.files import PathLike, read_json, read_text

_SHOWN = 20


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
    """Reads JSON lines, or one JSON array of objects; blank lines are skipped.

    Args:
        path: The file.
        problems: Receives lines that are no JSON object.

    Raises:
        DataError: If the file is unreadable or holds no record at all.
    """
    records = list(_records(path, problems))
    if not records:
        problems.settle()
        raise DataError(f"{path}: holds no usable record")
    return records


def _records(path: PathLike, problems: Problems) -> Iterator[Record]:
    text = read_text(path)
    if text.lstrip().startswith("["):
        document = read_json(path)
        for index, entry in enumerate(document, start=1):
            if isinstance(entry, dict):
                yield Record(entry, f"{path}: record {index}")
            else:
                problems.add("malformed record", f"{path}: record {index}: not a JSON object")
        return
    # Only \n ends a line: JSON strings may hold other separators, such as U+2028, unescaped.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            problems.add("malformed line", f"{where}: not JSON ({error.msg})")
            continue
        if isinstance(entry, dict):
            yield Record(entry, where)
        else:
            problems.add("malformed line", f"{where}: not a JSON object")


def field(record: Record, names: tuple[str, ...], problems: Problems) -> Any | None:
    """The first of several fields that the record has; a record without any is a problem."""
    for name in names:
        if record.data.get(name) is not None:
            return record.data[name]
    problems.add(
        "missing field", f"{record.where}: no field {' or '.join(repr(name) for name in names)}"
    )
    return None
