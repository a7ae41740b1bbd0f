"""Runs whose questions workers answer: the files of one process, whatever happens to workers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from secondsight.benchmarks import DataError, report
from secondsight.benchmarks.batches import Batches
from secondsight.benchmarks.distributed import Distributed
from secondsight.benchmarks.run import RunMismatchError
from secondsight.benchmarks.runner import Evaluation, evaluate
from secondsight.bulk.answering import Work
from secondsight.bulk.deaths import KILLED
from secondsight.bulk.worker import Worker
from secondsight.bulk.workers import Done, Event, Started, Workers, done
from secondsight.errors import UserError
from support import process
from support.fake_model import FakeModel

FILES = ("answers.jsonl", "manifest.json", "scores.json", "report.md", "report.html")


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(report, "plots", lambda comparison: [])  # they take longer than the rest


def run(model: Any, out: Path, **settings: Any) -> Evaluation:
    """18 questions about three images, four at a time, by five methods and two seeds."""
    given = {"methods": [], "seeds": [0, 1], "limit": 3, "batch_size": 1, **settings}
    return evaluate(
        "pope:dataset=stickers", model=model, out=out, progress=False, resamples=99, **given
    )


def ids() -> list[str]:
    """The questions' names."""
    from secondsight.benchmarks import Problems, create

    return [item.id for item in create("pope:dataset=stickers").load(Problems(lenient=True)).items]


def fakes(count: int = 2, carry: Any = Workers, tell: Any = print, **options: Any) -> Distributed:
    return Distributed(partial(FakeModel, **options), count, carry, tell)


def files(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


class Killing(Workers):
    """Workers all of which are killed once, after some batches."""

    killed = False

    def run(self, shards: Iterable[int]) -> Iterator[Event]:
        for event in super().run(shards):
            yield event
            if isinstance(event, Done) and event.shard >= 5 and not self.killed:
                self.killed = True
                for process in list(self._processes.values()):
                    process.kill()


class Here:
    """A worker in this process, which answers batches out of turn, and may be left."""

    until = -1

    def __init__(self, work: Work, starter: Any, count: int, memory: int | None) -> None:
        self.work, self.starter = work, starter

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None: ...

    def agree(self) -> None: ...

    def run(self, shards: Iterable[int]) -> Iterator[Event]:
        answering, said = self.starter(), []
        yield Started(0, json.loads(json.dumps(answering.identity)), answering.device)
        worker, left = Worker(self.work, answering, said.append), iter(shards)
        while group := list(islice(left, 3)):
            for shard in reversed(group):
                if shard == self.until:
                    raise KeyboardInterrupt
                worker.shard(shard)
                yield done(0, shard, json.loads(json.dumps(said.pop())))


class Left(Here):
    """The same, left before one batch."""

    until = 13


def test_batches_are_numbered_groups_first_then_methods_then_seeds() -> None:
    batches = Batches(range(10), ("a", "b"), (0, 1), 1)
    expected = [
        (method, seed, group)
        for group in (range(4), range(4, 8), range(8, 10))
        for method in ("a", "b")
        for seed in (0, 1)
    ]
    assert list(batches) == expected
    assert len(batches) == 12


def test_the_same_files_and_nothing_asked_twice(tmp_path: Path) -> None:
    run(FakeModel(), tmp_path / "whole")
    run(fakes(carry=Here), tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    run(FakeModel(), tmp_path / "whole", seeds=[0, 1, 2])
    run(fakes(carry=Here), tmp_path / "out", seeds=[0, 1, 2])  # a finished run takes a seed more
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    with pytest.raises(RunMismatchError, match=r"model \('fake' there, 'other' here\)"):
        run(fakes(carry=Here, name="other"), tmp_path / "out")
    run(fakes(carry=Here, budget=0), tmp_path / "out", seeds=[0, 1, 2])


def test_a_run_that_was_left_goes_on(tmp_path: Path) -> None:
    run(FakeModel(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(fakes(carry=Left), tmp_path / "out")
    path = tmp_path / "out" / "answers.jsonl"
    whole = (tmp_path / "whole" / "answers.jsonl").read_bytes()
    assert whole.startswith(path.read_bytes())
    assert 0 < path.stat().st_size < len(whole)
    path.write_bytes(path.read_bytes()[:-100])  # and its last line is torn
    run(fakes(carry=Here), tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_workers_killed_in_the_middle(tmp_path: Path, count: int) -> None:
    run(FakeModel(), tmp_path / "whole")
    said: list[str] = []
    run(fakes(count, Killing, pause=0.01, tell=said.append), tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert any(text.startswith("A worker ended (signal 9) over batch") for text in said)


def test_greedy_seeds_are_copied_as_ever(tmp_path: Path) -> None:
    settings = {"temperature": 0.0, "methods": ["ritual"]}
    run(FakeModel(), tmp_path / "whole", **settings)
    run(fakes(carry=Here), tmp_path / "out", **settings)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_failures_are_those_of_one_process(tmp_path: Path) -> None:
    broken = frozenset({ids()[1]})
    for name, model in (
        ("whole", FakeModel(broken=broken)),
        ("out", fakes(carry=Here, broken=broken)),
    ):
        with pytest.raises(DataError, match=r"1 questions cannot be answered, .*: broken"):
            run(model, tmp_path / name)
    assert (tmp_path / "out" / "answers.jsonl").read_bytes() == (
        tmp_path / "whole" / "answers.jsonl"
    ).read_bytes()
    for name, model in (
        ("whole", FakeModel(broken=broken)),
        ("out", fakes(carry=Here, broken=broken)),
    ):
        run(model, tmp_path / name, lenient=True)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.slow
def test_a_question_that_ends_its_worker_is_one_that_cannot_be_answered(tmp_path: Path) -> None:
    [_, deadly, *_] = ids()
    settings = {"lenient": True, "controls": False, "seeds": [0]}
    result = run(fakes(deadly=frozenset({deadly})), tmp_path / "out", **settings)
    assert result.comparison.items == 17
    assert result.comparison.warnings == (
        f"1 x question that cannot be answered (first: {deadly}: {KILLED})",
    )
    lines = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").open()]
    assert deadly not in {line["id"] for line in lines}


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the model was loaded with the preset 'llava-official'"):
        run(fakes(carry=Here), tmp_path / "out", preset="vcd-2023")
    with pytest.raises(UserError, match="workers must be at least 1, not 0"):
        fakes(0)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_on_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'secondsight[ray]'")
    from secondsight.bulk.ray import on_ray

    run(FakeModel(), tmp_path / "whole")
    run(fakes(carry=on_ray("local", num_cpus=0.5)), tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.slow
def test_the_command_line_with_a_real_model(tmp_path: Path, tiny_llava: Path) -> None:
    ask = [sys.executable, "-m", "secondsight", "eval", "pope", "--dataset", "stickers"]
    ask += ["--limit", "2", "--methods", "vcd", "--no-controls", "-m", str(tiny_llava)]
    for name, more in (("whole", []), ("out", ["--workers", "2"])):
        finished = process.run([*ask, "--out", tmp_path / name, "--batch-size", "2", *more])
        assert finished.returncode == 0, finished.stderr
    for name in FILES[:3]:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
