"""The examples that show how to add something: each runs as a program and as a plug-in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from support import process
from support.markdown import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PLUGINS = ("own_method.py", "own_view.py")
MAIN = "from secondsight.cli import main; main()"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    done = process.run([sys.executable, path], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2


def test_they_are_plug_ins(tmp_path: Path) -> None:
    plugins = os.pathsep.join(str(ROOT / "examples" / name) for name in PLUGINS)
    command = ["compare", "--methods", "regular;deblur:alpha=2;peek:share=0.3", "--no-controls"]
    done = process.run(
        [sys.executable, "-c", MAIN, *command, "--max-new-tokens", "6", "--json"],
        cwd=tmp_path,
        env={"SECONDSIGHT_PLUGINS": plugins},
    )
    assert done.returncode == 0, done.stderr
    assert "deblur:alpha=2" in done.stdout
    assert "peek:share=0.3" in done.stdout


def test_what_they_draw_and_add_is_what_they_say(tmp_path: Path) -> None:
    """In a process of its own, so that the methods do not stay registered."""
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / "examples")!r})
import torch, secondsight, own_method, own_view
logits = torch.randn(2, 3, 5)
deblur = own_method.Deblur(alpha=2.0)
assert torch.allclose(deblur.combine(logits, 0), 3 * logits[0] - 2 * logits[1])
assert torch.allclose(own_method.Deblur(alpha=0.0).combine(logits, 0), logits[0])
sample = secondsight.Sample(secondsight.demo_image(), "Is there a dog?").opened()
draw = lambda seed: own_view.Covered(0.5).apply(sample, torch.Generator().manual_seed(seed))
assert draw(0).digest == draw(0).digest != draw(1).digest != sample.digest
model = secondsight.load()
alone = [model.answer(sample.image, "Is there a dog?", "peek", seed=s).ids for s in (0, 1)]
again = [model.answer(sample.image, "Is there a dog?", "peek", seed=s).ids for s in (0, 1)]
assert alone == again
"""
    done = process.run([sys.executable, "-c", code], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_example_is_tested_and_mentioned() -> None:
    text = "".join((ROOT / page).read_text() for page in ("docs/methods.md", "CONTRIBUTING.md"))
    for path in EXAMPLES:
        assert f"examples/{path.name}" in text
