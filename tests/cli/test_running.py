"""What is said while a bulk run goes on, where there is no terminal."""

from __future__ import annotations

from typing import Any

import pytest

from secondsight.bulk import Summary
from secondsight.bulk.run import kind
from secondsight.bulk.workers import Died, Done, Started
from secondsight.cli import running
from secondsight.cli.running import Shown


class Run:
    """A run that is told of at moments of a clock."""

    def __init__(self, rows: int, before: int = 0) -> None:
        self.now = 1000.0
        self.shown = Shown(lambda: self.now)
        self.summary = Summary(rows, before, before)

    def start(self, *workers: int, device: str = "cpu") -> None:
        if device not in self.summary.devices:
            self.summary.devices.append(device)
        for worker in workers:
            self.shown(Started(worker, {}, device), self.summary)

    def done(self, worker: int, rows: int, *failed: str, after: float = 0.0) -> None:
        self.now += after
        self.summary.done += rows
        self.summary.by_worker[worker] += rows
        self.summary.reasons.update(map(kind, failed))
        self.shown(Done(worker, 0, rows, failed, 1.0, []), self.summary)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_a_minute_with_every_worker_and_what_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Run(1000, 400)
    run.start(0, 1)
    run.done(0, 20, after=40)
    assert said(capsys) == []
    run.done(1, 10, "'a.png' is no image.", "'b b.png' is no image.", after=20)
    run.done(0, 20, after=20)
    assert said(capsys) == [
        "430 of 1000 done, 0.5 a second, about 19 min left; 2 failed: 2 … is no image.; "
        "a second by worker 0: 0.33, 1: 0.17"
    ]
    run.done(1, 10, "http://a/1 took over 10 s", after=40)
    assert said(capsys) == [
        "460 of 1000 done, 0.5 a second, about 18 min left; 3 failed: 2 … is no image., "
        "1 http://a/… took over … s; a second by worker 0: 0.33, 1: 0.17"
    ]
    run.shown.close()


def test_one_worker_is_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(1000)
    run.start(0)
    run.done(0, 60, after=60)
    run.shown.close()
    assert said(capsys) == ["60 of 1000 done, 1 a second, about 16 min left"]


def test_a_line_though_nothing_was_finished(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "EVERY_S", 0.01)
    run = Run(1000)
    run.start(0, 1)
    run.now += 61
    run.shown._closed.wait(0.3)
    run.shown.close()
    assert said(capsys) == ["0 of 1000 done; a second by worker 0: 0, 1: 0"]


def test_many_workers_and_many_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(10_000)
    run.start(*range(16))
    run.done(7, 30)
    run.done(3, 120, *("no such " + "abcdefg"[number] for number in range(7)), after=60)
    run.shown.close()
    [line] = said(capsys)
    assert line.endswith("1 no such e, 2 others; a second by 16 workers 0 (0) to 2 (3)")


def test_mixed_devices_are_warned_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(10)
    run.start(0, device="H100")
    run.start(1, device="A100")
    run.start(2, device="A100")
    run.shown.close()
    [line] = said(capsys)
    assert line.startswith("Warning: Workers compute on H100 and A100, which may round differently")


def test_deaths_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(10)
    run.shown(Died(1, 12, "signal 9"), run.summary)
    assert said(capsys) == ["A worker ended (signal 9) over shard 12; another goes on."]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        ("'a b.png' is cut off after 3,201 bytes.", "… is cut off after … bytes."),
        ('"it\'s.png" is no image', "… is no image"),
        ("The worker's image isn't there", "The worker's image isn't there"),
        ("x" * 500, "x" * 160),
    ],
)
def test_kinds_of_failures(failure: str, expected: Any) -> None:
    assert kind(failure) == expected
