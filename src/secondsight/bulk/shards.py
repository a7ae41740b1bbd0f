"""Files of shards: written whole under another name, put on the disk, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from secondsight.bulk.manifest import Manifest, read_manifest
from secondsight.bulk.rows import Row
from secondsight.files import replacing

FOLDER: Final = "shards"


@dataclass(frozen=True)
class Shards:
    """The work of a run's folder: rows from its manifest, records into files of shards.

    Attributes:
        folder: The folder, by a path that every worker finds.
    """

    folder: Path

    @cached_property
    def _manifest(self) -> Manifest:
        return read_manifest(self.folder)

    def rows(self, shard: int) -> list[Row]:
        """See `Work.rows`."""
        return self._manifest.rows_of(self.folder, shard)

    def keep(self, shard: int, records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """See `Work.keep`; the driver needs none of them."""
        write_shard(self.folder, shard, records)
        return []


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / FOLDER / f"{number:06d}.jsonl"


def write_shard(folder: Path, number: int, records: Iterable[Mapping[str, Any]]) -> None:
    """Write a shard's answers.

    Raises:
        OSError: The disk is full, or the folder cannot be written; nothing is left behind.
    """
    path = shard_path(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh, fresh.open("wb") as file:
        for record in records:
            file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def is_there(folder: Path, number: int) -> bool:
    """Whether a shard's file is there and does not end within a line; its lines are not counted."""
    try:
        with shard_path(folder, number).open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:
        return False


def records_of(folder: Path, number: int, rows: Sequence[Row]) -> list[bytes] | None:
    """The lines of a shard; None where they are not the answers to its rows, one for one."""
    try:
        lines = shard_path(folder, number).read_bytes().splitlines(keepends=True)
        named = [json.loads(line)["id"] for line in lines]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = lines and lines[-1].endswith(b"\n")
    return lines if whole and named == [row.id for row in rows] else None


def failures_in(folder: Path, number: int) -> Iterator[str]:
    """Why rows of a shard failed."""
    with shard_path(folder, number).open("rb") as lines:
        for line in lines:
            if b'"error"' in line and "error" in (record := json.loads(line)):
                yield str(record["error"])
