"""Rows: what is asked about each image, and where the image is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from secondsight.errors import UserError


@dataclass(frozen=True)
class Row:
    """One question about one image.

    Attributes:
        id: Its name, which no other row has.
        image: Where the image is: a path, a URL, ``FILE.tar#START+BYTES`` or
            ``FILE.parquet#NUMBER``; None for a question without one.
        question: What is asked.
    """

    id: str
    image: str | None
    question: str

    def line(self) -> bytes:
        """The row as a line of JSON."""
        return (json.dumps(asdict(self), ensure_ascii=False) + "\n").encode()


def row_of(record: Mapping[str, Any]) -> Row:
    """A row as it was written by `Row.line`."""
    return Row(record["id"], record["image"], record["question"])


def unique(rows: Iterator[Row]) -> Iterator[Row]:
    """The same rows.

    Raises:
        UserError: Two have the same id.
    """
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if row.id in seen:
            raise UserError(
                f"Row {number} has the id {row.id!r}, which an earlier row has as well. Give each "
                "row an id of its own."
            )
        seen.add(row.id)
        yield row


def read_rows(path: Path, start: int, count: int) -> list[Row]:
    """Rows of a file of lines, from a place in it on.

    Args:
        path: The file.
        start: Bytes before the first of them.
        count: How many.
    """
    with path.open("rb") as lines:
        lines.seek(start)
        return [row_of(json.loads(next(lines))) for _ in range(count)]
