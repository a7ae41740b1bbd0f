"""Workers that die: how often before what is done."""

from __future__ import annotations

from typing import Any, Final

from secondsight.bulk.rows import Row

CAREFUL_AFTER: Final = 2
"""Deaths over one shard after which its rows are answered one by one, to find which it is."""

BLAMED: Final = 2
"""Deaths over one row after which it is given up."""

STARTS: Final = 5
"""How often a worker may die before it has loaded its model."""

KILLED: Final = (
    "This row ended the worker that was answering it, twice: its image may be damaged or huge."
)


def given_up(row: Row) -> dict[str, Any]:
    """The record of a row that ends its worker."""
    return {"id": row.id, "image": row.image, "question": row.question, "error": KILLED}
