"""Folders of files that are taken for images, and workers that find the tests' own answerer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from secondsight.bulk.run import Caption
from secondsight.bulk.sources import Source
from support.rote import Rote

Make = Callable[..., Caption]


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 23 files, in two folders."""
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    for number in range(23):
        inner = "inner/" if number % 3 == 0 else ""
        (folder / f"{inner}p{number:02d}.png").write_bytes(b"pixels %d" % number)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


@pytest.fixture
def plan(tmp_path: Path, images: Path) -> Make:
    """Makes runs about that folder, in shards of four."""

    def make(name: str = "run", *, starter: Rote | None = None, **options: object) -> Caption:
        settings: dict[str, object] = {"shard_size": 4, **options}
        source = settings.pop("source", Source(str(images), "What is it?"))
        return Caption(source, tmp_path / name, starter or Rote(), **settings)  # type: ignore[arg-type]

    return make
