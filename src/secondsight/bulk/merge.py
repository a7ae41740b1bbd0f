"""Joining shards: in order, each checked against its rows, the same bytes whoever answered them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from secondsight.bulk.manifest import Manifest
from secondsight.bulk.shards import records_of
from secondsight.files import replacing

ANSWERS: Final = "answers.jsonl"
PARQUET: Final = "answers.parquet"


def damaged(folder: Path, manifest: Manifest) -> list[int]:
    """The shards that do not answer their rows, one for one."""
    return [
        number
        for number in range(manifest.shards)
        if records_of(folder, number, manifest.rows_of(folder, number)) is None
    ]


def merge(folder: Path, manifest: Manifest, formats: tuple[str, ...]) -> list[Path]:
    """Write a finished run's answers as one file of each format.

    Args:
        folder: The run's folder, of which every shard is whole.
        manifest: Its manifest.
        formats: ``jsonl``, ``parquet``.

    Returns:
        The files.
    """
    made = []
    if "jsonl" in formats:
        made.append(folder / ANSWERS)
        with replacing(made[-1]) as fresh, fresh.open("wb") as file:
            file.writelines(_lines(folder, manifest))
            file.flush()
            os.fsync(file.fileno())
    if "parquet" in formats:
        from secondsight.bulk import parquet

        made.append(folder / PARQUET)
        with replacing(made[-1]) as fresh:
            parquet.write(fresh, _records(folder, manifest))
    return made


def _lines(folder: Path, manifest: Manifest) -> Iterator[bytes]:
    for number in range(manifest.shards):
        lines = records_of(folder, number, manifest.rows_of(folder, number))
        assert lines is not None, "shards are checked before they are joined"
        yield from lines


def _records(folder: Path, manifest: Manifest) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in _lines(folder, manifest))
