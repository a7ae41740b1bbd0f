"""A run that is really killed, by SIGKILL, at moments nobody chose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import process

RUN = """
from functools import partial
from support.fake_model import FakeModel
from secondsight.benchmarks.distributed import Distributed
from secondsight.benchmarks.runner import evaluate

slow = partial(FakeModel, pause=0.02)
evaluate("pope:dataset=stickers", model={model}, limit=8, seeds=[0, 1],
         out={out!r}, batch_size=1, resamples=99, progress=False)
"""


def start(out: Path, model: str) -> subprocess.Popen[str]:
    code = RUN.format(model=model, out=str(out))
    path = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return process.start([sys.executable, "-c", code], stdout=None, stderr=None, env=path)


def sorted_lines(out: Path) -> list[bytes]:
    return sorted((out / "answers.jsonl").read_bytes().splitlines(keepends=True))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("model", ["slow()", "Distributed(slow, 2)"], ids=["alone", "workers"])
def test_kill_nine_again_and_again_changes_nothing(tmp_path: Path, model: str) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert start(whole, "slow()").wait() == 0
    total = len(sorted_lines(whole))
    for share in (0.05, 0.3, 0.31, 0.8):
        child = start(torn, model)
        answers = torn / "answers.jsonl"
        while child.poll() is None:
            if answers.exists() and answers.read_bytes().count(b"\n") >= share * total:
                os.kill(child.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        child.wait()
    # As if the kill had also torn the last line.
    content = answers.read_bytes()
    answers.write_bytes(content[:-7])
    assert start(torn, model).wait() == 0
    assert sorted_lines(torn) == sorted_lines(whole)
    assert (torn / "scores.json").read_bytes() == (whole / "scores.json").read_bytes()
