"""Reading benchmark files: JSON, JSON lines and what to do about bad records.

Every problem names the file and the line. In strict mode (the default) all problems of a file
are collected and raised together; in lenient mode they are counted and returned as warnings.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secondsight.errors import UserError

PathLike = str | os.PathLike[str]

_SHOWN = 20


class DataError(UserError):
    """A benchmark file that cannot be used as it is."""


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


def read_text(path: PathLike) -> str:
    """Reads a UTF-8 file (a byte order mark is dropped).

    Raises:
        DataError: If it is missing, not a file, not UTF-8, or empty.
    """
    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{file}: is a directory, a file was expected") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    if not text.strip():
        raise DataError(f"{file}: the file is empty")
    return text


def read_json(path: PathLike) -> Any:
    """Reads one JSON document.

    Raises:
        DataError: As `read_text`, or if it is not JSON (with the line).
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None


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


def text_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomic(path: PathLike, text: str) -> None:
    """Writes a whole text file, or leaves the old one untouched."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
