"""What may happen to a run: nothing is lost, nothing is there twice, the bytes are the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from secondsight.bulk.answering import Work
from secondsight.bulk.deaths import KILLED, WorkerError
from secondsight.bulk.merge import ANSWERS
from secondsight.bulk.run import Caption, Summary, run
from secondsight.bulk.sources import Source
from secondsight.bulk.workers import Died, Event, Workers
from support import process
from support.rote import Rote

from .conftest import Make

DRIVER = """
import sys
from pathlib import Path
from secondsight.bulk.run import Caption, run
from secondsight.bulk.sources import Source
from support.rote import Rote
images, folder, pause, size = sys.argv[1:]
source, starter = Source(images, "What is it?"), Rote(pause=float(pause))
run(Caption(source, Path(folder), starter, workers=2, shard_size=int(size)))
"""


def lines(made: Caption) -> list[dict[str, object]]:
    return [json.loads(line) for line in (made.folder / ANSWERS).open()]


def test_an_image_that_ends_its_worker_becomes_an_error_row(plan: Make, images: Path) -> None:
    (images / "p05.png").write_bytes(b"crash")
    made = plan(workers=2)
    summary = run(made)
    found = lines(made)
    assert len(found) == 23
    assert [one["id"] for one in found if "error" in one] == ["p05.png"]
    assert next(one for one in found if "error" in one)["error"] == KILLED
    assert summary.deaths == 4  # twice as a whole, twice row by row
    again = plan("again")
    run(again)
    assert (again.folder / ANSWERS).read_bytes() == (made.folder / ANSWERS).read_bytes()


def test_two_of_them_in_one_shard(plan: Make, images: Path) -> None:
    for name in ("p05.png", "p07.png"):
        (images / name).write_bytes(b"crash")
    made = plan(shard_size=100)
    run(made)
    assert [one["id"] for one in lines(made) if "error" in one] == ["p05.png", "p07.png"]


@pytest.mark.parametrize(
    ("image", "why"),
    [(b"eat", "more than 0.2 GB of memory"), (b"break", "RuntimeError: the decoder broke")],
)
def test_an_image_that_eats_memory_or_breaks_the_decoder(
    plan: Make, images: Path, image: bytes, why: str
) -> None:
    """As one that ends its worker; the rest is answered as ever."""
    run(plan("whole"))
    (images / "p05.png").write_bytes(image)
    made, reasons = plan(workers=2, memory_gb=0.2), []

    def watch(event: Event, summary: Summary) -> None:
        if isinstance(event, Died):
            reasons.append(event.why)

    run(made, watch)
    assert reasons == [why] * 4
    expected = lines(plan("whole"))
    [number] = [place for place, one in enumerate(expected) if one["id"] == "p05.png"]
    asked = {name: expected[number][name] for name in ("id", "image", "question")}
    expected[number] = {**asked, "error": KILLED}
    assert lines(made) == expected


def test_where_every_image_ends_its_worker_the_run_ends(plan: Make, images: Path) -> None:
    for path in images.rglob("*.png"):
        path.write_bytes(b"break")
    with pytest.raises(WorkerError, match=r"The first 5 rows each .*: RuntimeError: the decoder"):
        run(plan())


def test_workers_that_are_killed_are_replaced(plan: Make) -> None:
    """Each is killed once it has its model; an innocent row is never given up."""
    chance = random.Random(0)
    whole, made = plan("whole"), plan(starter=Rote(pause=0.02), workers=2, carry=Killed(6, chance))
    run(whole)
    summary = run(made)
    assert summary.deaths >= 1
    assert (made.folder / ANSWERS).read_bytes() == (whole.folder / ANSWERS).read_bytes()


@pytest.mark.slow
def test_a_worker_is_killed_at_twenty_moments(plan: Make, images: Path, tmp_path: Path) -> None:
    """While it answers or while it starts, whichever it is at."""
    source = tmp_path / "list.jsonl"
    rows = [{"id": str(n), "image": f"images/p{n % 2 + 1:02d}.png"} for n in range(1200)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {"source": Source(str(source), "What is it?"), "shard_size": 8}
    whole, made = plan("whole", **asked), plan(starter=Rote(pause=0.02), workers=2, **asked)
    run(whole)
    chance, over, killed = random.Random(20), threading.Event(), []

    def kill() -> None:
        while len(killed) < 20 and not over.wait(chance.uniform(0.2, 1.0)):
            workers = psutil.Process().children()
            if workers:
                killed.append(chance.choice(workers))
                killed[-1].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        summary = run(made)
    finally:
        over.set()
        killer.join()
    assert len(killed) == 20
    assert 1 <= summary.deaths <= 20
    assert (made.folder / ANSWERS).read_bytes() == (whole.folder / ANSWERS).read_bytes()


class Killed:
    """Workers of which somebody kills one now and then."""

    def __init__(self, times: int, chance: random.Random) -> None:
        self.times, self.chance = times, chance

    def __call__(self, work: Work, starter: Rote, count: int, memory: int | None) -> Workers:
        return _KilledWorkers(work, starter, count, self)


class _KilledWorkers(Workers):
    def __init__(self, work: Work, starter: Rote, count: int, killed: Killed) -> None:
        super().__init__(work, starter, count)
        self._killed = killed

    def run(self, shards):  # type: ignore[no-untyped-def]
        for event in super().run(shards):
            yield event
            if self._killed.times and not isinstance(event, Died):
                self._killed.times -= 1
                time.sleep(self._killed.chance.random() * 0.05)
                if self._processes:
                    self._killed.chance.choice(list(self._processes.values())).kill()


def start(images: Path, folder: Path, pause: float) -> subprocess.Popen[str]:
    return process.start(
        [sys.executable, "-c", DRIVER, images, folder, pause, 4],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize("everything", [False, True], ids=["the driver", "everything"])
@pytest.mark.parametrize("moments", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_run_again(
    plan: Make, images: Path, tmp_path: Path, everything: bool, moments: int
) -> None:
    whole = plan("whole")
    run(whole)
    chance = random.Random(moments)
    folder = tmp_path / "killed"
    for _ in range(moments):
        driver = start(images, folder, 0.03)
        time.sleep(0.3 + chance.random() * 1.5)
        children = psutil.Process(driver.pid).children() if driver.poll() is None else []
        driver.kill()
        driver.communicate()
        if everything:
            for child in children:
                child.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive, "workers end with their driver"
    with start(images, folder, 0) as last:
        _, err = last.communicate()
    assert last.returncode == 0, err
    assert (folder / ANSWERS).read_bytes() == (whole.folder / ANSWERS).read_bytes()
    left = [path.name for path in folder.rglob("*.part")]
    assert len(left) <= moments  # what a kill leaves is named so that nobody takes it for answers


def test_what_meets_every_worker_ends_the_run_in_a_line(plan: Make) -> None:
    with pytest.raises(WorkerError, match="A worker cannot go on: no such parrot"):
        run(plan(starter=Broken()))


class Broken(Rote):
    """Cannot be started."""

    def __call__(self):  # type: ignore[no-untyped-def]
        from secondsight import UserError

        raise UserError("no such parrot")


def test_a_full_disk(plan: Make, images: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: half a shard is never left."""
    folder = tmp_path / "full"
    limit = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh"]
    with process.start(
        [*limit, sys.executable, "-c", DRIVER, images, folder, 0, 20],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as driver:
        _, err = driver.communicate()
    assert driver.returncode != 0
    assert "cannot be written" in err or "File too large" in err
    shards = folder / "shards"
    assert not shards.exists() or not list(shards.glob("*.jsonl"))
    with start(images, folder, 0) as last:
        last.communicate()


def test_ctrl_c_ends_the_workers_too(plan: Make, images: Path, tmp_path: Path) -> None:
    driver = start(images, tmp_path / "run", 0.2)
    time.sleep(1.5)
    children = psutil.Process(driver.pid).children()
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=20)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_the_summary_counts(plan: Make) -> None:
    seen: list[int] = []

    def watch(event: Event, summary: Summary) -> None:
        seen.append(summary.done)

    summary = run(plan(workers=2), watch)
    assert seen == sorted(seen)
    assert sum(summary.by_worker.values()) == summary.done == 23
