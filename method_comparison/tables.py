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

SPLITS = ("test", "conflict", "hard")
TASKS = {"chair": "captions", "pope": "yes/no"}
NEW_TOKENS = {"chair": 110, "pope": 4}
BATCH = 48

# Seconds of one caption over those of one yes/no answer, for the estimate of the time left.
_COST = {"chair": 5.0, "pope": 1.0}
# POPE asks six questions about each scene.
_ITEMS = {"chair": 1.0, "pope": 6.0}
_ROWS = 1 + len(METHODS) + 4


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

    def progress(self, out: Path, size: Size) -> tuple[float, float]:
        """Work done and work in all, in yes/no answers."""
        items, answers = _ITEMS[self.task] * size.scenes, out / self.name / "answers.jsonl"
        done = answers.read_bytes().count(b"\n") if answers.exists() else 0
        cost = _COST[self.task]
        return cost * done, cost * items * _ROWS * size.seeds


def select(only: tuple[str, ...] = ()) -> list[Table]:
    """All tables, the most telling first, so that an early stop leaves something."""
    every = [
        Table(task, split, temperature)
        for temperature in (1.0, 0.0)
        for task in TASKS
        for split in SPLITS
    ]
    return [table for table in every if not only or table.name in only]


def scores(out: Path, table: Table) -> dict[str, Any] | None:
    """The scores of a finished table, None if it is not finished."""
    path = out / table.name / "scores.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
