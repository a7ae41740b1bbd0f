"""The manifest of a run: its rows in order, cut into shards, and what they are answered with.

``DIR/rows.jsonl`` has the rows; ``DIR/manifest.json`` says what they are and, once the first worker
has a model, with what it answers. Both are whole or not there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from secondsight.answers_file import differences
from secondsight.bulk.rows import Row, read_rows
from secondsight.errors import UserError
from secondsight.files import read_json, replacing, write_atomic

ROWS: Final = "rows.jsonl"
MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_SHOWN: Final = 8


class OtherRunError(UserError):
    """The folder holds a run about other rows, or with other settings."""


@dataclass(frozen=True)
class Manifest:
    """What a run is.

    Attributes:
        rows: How many rows there are.
        sha256: Of the file of rows.
        shard_size: Rows of a shard; the last one may have fewer.
        starts: Where each shard's first row is in the file of rows, in bytes.
        asked: What the rows are to be answered with, as far as it is known without a model.
        identity: What the rows are answered with; None before a model was loaded.
        devices: What they were computed on so far, as far as rounding depends on it.
    """

    rows: int
    sha256: str
    shard_size: int
    starts: tuple[int, ...]
    asked: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] | None = None
    devices: tuple[str, ...] = ()

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return len(self.starts)

    def size(self, shard: int) -> int:
        """Rows of a shard."""
        return min(self.shard_size, self.rows - shard * self.shard_size)

    def rows_of(self, folder: Path, shard: int) -> list[Row]:
        """The rows of a shard."""
        return read_rows(folder / ROWS, self.starts[shard], self.size(shard))


def claim(folder: Path, rows: Iterable[Row], shard_size: int, asked: Mapping[str, Any]) -> Manifest:
    """Fix the rows of a new run, or see that a folder's run is about the same.

    Args:
        folder: The run's folder; made if absent.
        rows: The rows.
        shard_size: Rows of a shard.
        asked: See `Manifest.asked`.

    Raises:
        OtherRunError: The folder holds another run.
        UserError: It cannot be written, or the rows are not of the right form.
    """
    path, asked = folder / MANIFEST, json.loads(json.dumps(asked))
    known = read_manifest(folder) if path.exists() else None
    if known is None and folder.is_dir() and (folder / "shards").exists():
        raise OtherRunError(f"{str(folder)!r} has shards but no {MANIFEST}. Choose another --out.")
    if known is not None:
        counted = replace(_measured(rows, shard_size), asked=asked)
        _refuse(folder, asdict(replace(known, identity=None, devices=())), asdict(counted))
        return known
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / ROWS) as fresh, fresh.open("wb") as file:
        made = replace(_measured(_written(rows, file), shard_size), asked=asked)
        file.flush()
        os.fsync(file.fileno())
    _write(folder, made)
    return made


def identify(folder: Path, identity: Mapping[str, Any], device: str) -> Manifest:
    """Note what a run's rows are answered with, or see that it is the same; and where.

    Raises:
        OtherRunError: They were answered with something else; the message names what differs.
    """
    known = read_manifest(folder)  # in which another part of the run may have noted its own
    plain = json.loads(json.dumps(identity))
    if known.identity is not None:
        _refuse(folder, known.identity, plain)
    devices = tuple(dict.fromkeys((*known.devices, device)))
    manifest = replace(known, identity=plain, devices=devices)
    if manifest != known:
        _write(folder, manifest)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a folder.

    Raises:
        OtherRunError: It is none, or of another version.
    """
    found = read_json(folder / MANIFEST)
    try:
        if found.pop("format") != _FORMAT:
            raise KeyError
        tuples = {name: tuple(found.get(name, ())) for name in ("starts", "devices")}
        return Manifest(**{**found, **tuples})
    except (AttributeError, KeyError, TypeError):
        raise OtherRunError(
            f"{str(folder / MANIFEST)!r} is of another version of secondsight, or of no bulk run. "
            "Choose another --out."
        ) from None


def _write(folder: Path, manifest: Manifest) -> None:
    content = {"format": _FORMAT, **asdict(manifest)}
    write_atomic(folder / MANIFEST, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _written(rows: Iterable[Row], file: Any) -> Iterator[Row]:
    for row in rows:
        file.write(row.line())
        yield row


def _measured(rows: Iterable[Row], shard_size: int) -> Manifest:
    digest, starts, place, count = hashlib.sha256(), [], 0, 0
    for row in rows:
        if count % shard_size == 0:
            starts.append(place)
        line = row.line()
        digest.update(line)
        place += len(line)
        count += 1
    return Manifest(count, digest.hexdigest(), shard_size, tuple(starts))


def _refuse(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    there, here = ({k: v for k, v in one.items() if k != "starts"} for one in (there, here))
    named = list(islice(differences(there, here), _SHOWN))
    if named:
        raise OtherRunError(
            f"{str(folder)!r} holds another run, which differs in {'; '.join(named)}. Choose "
            "another --out, or repeat that run to continue it."
        )
