"""What is compared: the tables of the comparison, and the work that each one is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METHODS = (
    *("ritual", "vcd", "m3id", "m3id:gate=0.3", "ritual+vcd", "ritual+m3id"),
    *("icd", "lcd", "dola", "deco", "only", "revisit", "pai", "sid", "avisc", "vista"),
)
"""Beside regular decoding and the controls, which every run adds. Not `agla`, which needs another
model, and not beams and `opera`, which draw nothing."""

CHECKS = (
    *("check", "check:repair=drop", "check:repair=constrain", "check:attributes=false"),
    *("check:threshold=0.5", "check+ritual"),
)
"""Beside regular decoding, the controls of all methods and those of `check`; greedy, for a doubt is
about what the model says, and not about what was drawn."""

SPLITS = ("test", "conflict", "hard")
TASKS = {"check": "checked captions", "chair": "captions", "pope": "yes/no"}
PAGES = {"stickers.md": ("chair", "pope"), "check.md": ("check",)}
"""Where in `docs` which tasks are reported."""

NEW_TOKENS = {"check": 110, "chair": 110, "pope": 4}
BATCH = 48

CHECKED_SCENES = {"test": 500, "conflict": 150, "hard": 150}
# Seconds of one caption over those of one yes/no answer, for the estimate of the time left.
_COST = {"check": 7.0, "chair": 5.0, "pope": 1.0}
# POPE asks six questions about each scene.
_ITEMS = {"check": 1.0, "chair": 1.0, "pope": 6.0}
_CONTROLS = {"check": 6, "chair": 4, "pope": 4}


@dataclass(frozen=True)
class Size:
    """How much is asked."""

    scenes: int
    seeds: int


@dataclass(frozen=True)
class Table:
    """One table: a task on a split at a temperature."""

    task: str
    split: str
    temperature: float

    @property
    def name(self) -> str:
        """Folder of its run."""
        return f"{self.task}-{self.split}-{self.how}"

    @property
    def how(self) -> str:
        """``greedy`` or ``sampled``."""
        return "greedy" if self.temperature == 0 else "sampled"

    @property
    def title(self) -> str:
        """The split and how tokens are chosen, for headings."""
        return f"{self.split}, {'greedy' if self.temperature == 0 else 'temperature 1'}"

    @property
    def benchmark(self) -> str:
        """What asks and scores."""
        return "chair" if self.task == "check" else self.task

    @property
    def methods(self) -> tuple[str, ...]:
        """What is compared."""
        return CHECKS if self.task == "check" else METHODS

    def size(self, size: Size) -> Size:
        """How much is asked here: greedy checks need no seeds, and made-up objects are few."""
        return Size(CHECKED_SCENES[self.split], 1) if self.task == "check" else size

    def progress(self, out: Path, size: Size) -> tuple[float, float]:
        """Work done and work in all, in yes/no answers."""
        own, answers = self.size(size), out / self.name / "answers.jsonl"
        done = answers.read_bytes().count(b"\n") if answers.exists() else 0
        rows = 1 + len(self.methods) + _CONTROLS[self.task]
        cost = _COST[self.task]
        return cost * done, cost * _ITEMS[self.task] * own.scenes * rows * own.seeds


def select(only: tuple[str, ...] = ()) -> list[Table]:
    """All tables, the most telling first, so that an early stop leaves something."""
    every = [
        Table(task, split, temperature)
        for temperature in (1.0, 0.0)
        for task in TASKS
        for split in SPLITS
        if temperature == 0 or task != "check"
    ]
    return [table for table in every if not only or table.name in only]


def scores(out: Path, table: Table) -> dict[str, Any] | None:
    """The scores of a finished table, None if it is not finished."""
    path = out / table.name / "scores.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
