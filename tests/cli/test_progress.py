"""Progress where there is no terminal: a line a minute."""

from __future__ import annotations

import pytest

from secondsight.cli.progress import progress


def test_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    with progress(1000, 400, clock=lambda: now) as advance:
        for _ in range(30):
            now += 10
            advance(4)
    assert capsys.readouterr().err.splitlines() == [
        "424 of 1000 done, 0.4 a second, about 24 min left",
        "448 of 1000 done, 0.4 a second, about 23 min left",
        "472 of 1000 done, 0.4 a second, about 22 min left",
        "496 of 1000 done, 0.4 a second, about 21 min left",
        "520 of 1000 done, 0.4 a second, about 20 min left",
    ]


def test_nothing_for_a_short_run_or_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with progress(2, 0, clock=lambda: now) as advance:
        now = 59.0
        advance(1)
        now = 7200.0
        advance(1)
    assert capsys.readouterr().err == ""


def test_long_runs(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with progress(10_000, 0, clock=lambda: now) as advance:
        now = 60.0
        advance(1)
        now = 120.0
        advance(99)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("about 7 days left")
    assert second.endswith("about 3 h left")
