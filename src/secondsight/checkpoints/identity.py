"""Which weights a model is of, told from its files: a commit on the hub, or a hash.

Files are read at most once: a hash is remembered by the file's path, size and time of change, in
``~/.cache/secondsight`` (``XDG_CACHE_HOME`` and ``SECONDSIGHT_CACHE`` move it).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secondsight.checking.calibration import FILE
from secondsight.checkpoints.weights import weight_files
from secondsight.files import write_atomic

_COMMIT: Final = re.compile(r"^models--(?P<name>.+)$")
_SETTINGS: Final = (".json", ".jinja", ".model", ".txt", ".py")
"""Files beside the weights that say how a model computes and reads: configuration, tokenizer,
template, code. Not the calibrations, which say what it means, and have an identity of their own."""

_ADDITIONS: Final = (
    "mm_projector.bin",
    "non_lora_trainables.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
)
"""Weights that add to others."""

_REMEMBERED_FROM: Final = 2**20
"""Bytes; smaller files are hashed each time."""

_SETTLED: Final = 2 * 10**9
"""Nanoseconds; a file that changed more recently could change again without its time telling."""

_CHUNK: Final = 2**24
_KEPT: Final = 4096
"""How many hashes are remembered."""


def identity(folders: Iterable[Path], quantisation: str | None = None) -> str:
    """What tells a model's weights and settings from any other's.

    Args:
        folders: The folders that it was loaded from: the checkpoint, and its base, adapter or
            vision tower.
        quantisation: How the weights were quantised while loading, if they were.

    Returns:
        One term a folder: ``name@commit`` for one in the hub's cache, else ``sha256:...`` of what
        is read there; the same for the same content wherever it is.
    """
    terms = [_hub_commit(folder) or _content(folder) for folder in dict.fromkeys(folders)]
    return " + ".join(terms) + (f" in {quantisation}" if quantisation else "")


def _hub_commit(folder: Path) -> str | None:
    """The name and commit of a folder ``models--owner--name/snapshots/commit``."""
    place = folder.absolute()
    named = _COMMIT.match(place.parent.parent.name)
    if named is None or place.parent.name != "snapshots":
        return None
    return f"{named['name'].replace('--', '/')}@{place.name}"


def _content(folder: Path) -> str:
    files = sorted(_read(folder))
    known = _remembered()
    with ThreadPoolExecutor(max_workers=4) as threads:
        hashed = list(threads.map(lambda file: _hash(file, known), files))
    _remember({str(file.resolve()): one for file, one in zip(files, hashed, strict=True)}, known)
    whole = hashlib.sha256()
    for file, one in zip(files, hashed, strict=True):
        whole.update(f"{file.name} {one.sha256}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _read(folder: Path) -> set[Path]:
    """The files of a folder that make the model what it is."""
    beside = [folder / name for name in _ADDITIONS]
    settings = [file for file in folder.iterdir() if file.suffix in _SETTINGS and file.name != FILE]
    return {file for file in (*weight_files(folder), *beside, *settings) if file.is_file()}


@dataclass(frozen=True)
class _Hashed:
    """A file's hash, with its size in bytes and its time of change, in ns, before it was read."""

    size: int
    changed: int
    sha256: str


def _hash(file: Path, known: Mapping[str, Any]) -> _Hashed:
    about = file.stat()
    size, changed = about.st_size, about.st_mtime_ns
    kept = known.get(str(file.resolve()))
    if isinstance(kept, list) and kept[:2] == [size, changed]:
        return _Hashed(size, changed, str(kept[2]))
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return _Hashed(size, changed, digest.hexdigest())


def _memory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SECONDSIGHT_CACHE") or Path(cache) / "secondsight") / "hashes.json"


def _remembered() -> dict[str, Any]:
    try:
        content = json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # none yet, damaged, or no home folder
        return {}
    return content if isinstance(content, dict) else {}


def _remember(hashed: Mapping[str, _Hashed], known: Mapping[str, Any]) -> None:
    """Keep the hashes of large files; without a place to keep them they are made again."""
    settled = time.time_ns() - _SETTLED
    large = {
        path: [one.size, one.changed, one.sha256]
        for path, one in hashed.items()
        if one.size >= _REMEMBERED_FROM and one.changed < settled
    }
    found = {**known, **large}
    if found == known:
        return
    try:
        memory = _memory()
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(memory, json.dumps(dict(list(found.items())[-_KEPT:])))
    except (OSError, RuntimeError):
        pass
