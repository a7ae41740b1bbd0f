"""Workers that die: how often before what is done."""

from __future__ import annotations

from typing import Any, Final

from secondsight.bulk.rows import Row
from secondsight.errors import UserError

CAREFUL_AFTER: Final = 2
"""Deaths over one shard after which its rows are answered one by one, to find which it is."""

BLAMED: Final = 2
"""Deaths over one row after which it is given up."""

STARTS: Final = 5
"""How often a worker may die before it has loaded its model."""

HOPELESS: Final = 5
"""Rows given up, and none answered, after which the fault is not looked for in rows any more."""

KILLED: Final = (
    "This row ended the worker that was answering it, twice: its image may be damaged or huge."
)


class WorkerError(UserError):
    """A worker cannot do what it is for: its model does not load, the disk is full."""


def hopeless(rows: int, why: str) -> WorkerError:
    """The error of a run whose rows all end their workers.

    Args:
        rows: How many did.
        why: How the last worker ended.
    """
    return WorkerError(
        f"The first {rows} rows each ended their worker, twice. The last time: {why}"
    )


def given_up(row: Row) -> dict[str, Any]:
    """The record of a row that ends its worker."""
    return {"id": row.id, "image": row.image, "question": row.question, "error": KILLED}
