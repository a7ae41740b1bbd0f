"""A short training run: the loss falls, and an interrupted run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("sentencepiece")

from training.targets import Shape
from training.train import Stage, Trainer, run, save

SMALL = Shape(image=96, patch=16, length=200)


@pytest.mark.slow
def test_two_minutes_of_training_lower_the_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trainer = Trainer(SMALL, seed=1)
    plan = (
        Stage("see", 0.8, 16, 1e-3, 1e-3, 0.4, 10),
        Stage("talk", 1.0, 8, 1e-3, 8e-4, 0.0, 10),
    )
    run(trainer, plan, tmp_path, every=2, unknown=0.05)
    lines = [json.loads(x) for x in (tmp_path / "curves.jsonl").read_text().splitlines()]
    for stage, key in (("see", "patch_loss"), ("talk", "text_loss")):
        values = [x[key] for x in lines if x["stage"] == stage]
        assert values[-1] < 0.9 * values[0]
    again = Trainer(SMALL, seed=2)
    again.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert again.stage == 2


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    first = Trainer(SMALL, seed=1)
    first.step, first.seconds = 7, 3.5
    save(first, tmp_path / "checkpoint.pt")
    second = Trainer(SMALL, seed=2)
    second.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert (second.step, second.seconds) == (7, 3.5)
    assert all(torch.equal(a, b) for a, b in zip(first.master, second.master, strict=True))
    assert not list(tmp_path.glob("*.part"))
