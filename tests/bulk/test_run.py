"""Runs: whole, continued, in parts, by several workers; the same bytes each time."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from secondsight import UserError
from secondsight.bulk.manifest import OtherRunError, identify
from secondsight.bulk.merge import ANSWERS
from secondsight.bulk.run import Caption, Summary, run
from secondsight.bulk.shards import shard_path
from secondsight.bulk.sources import Source
from secondsight.bulk.workers import Event
from support.rote import Rote

from .conftest import Make


@pytest.fixture
def whole(plan: Make) -> bytes:
    """What one worker writes."""
    made = plan("whole")
    summary = run(made)
    assert (summary.rows, summary.done, summary.before, summary.failed) == (23, 23, 0, 0)
    return (made.folder / ANSWERS).read_bytes()


def test_answers_are_in_the_order_of_the_rows(whole: bytes, images: Path) -> None:
    records = [json.loads(line) for line in whole.splitlines()]
    assert [one["id"] for one in records] == sorted(one["id"] for one in records)
    expected = Rote()()
    source = Source(str(images), "What is it?")
    assert records == expected(list(source.rows()))


@pytest.mark.parametrize("options", [{"workers": 3}, {"shard_size": 5}, {"shard_size": 100}])
def test_the_same_bytes_whoever_works(plan: Make, whole: bytes, options: dict[str, int]) -> None:
    made = plan(**options)
    run(made)
    assert (made.folder / ANSWERS).read_bytes() == whole


def test_parts_are_joined_by_the_last(plan: Make, whole: bytes) -> None:
    summaries = [run(plan(part=(number, 3))) for number in (2, 0, 1)]
    assert [bool(one.files) for one in summaries] == [False, False, True]
    assert sum(one.done for one in summaries) == 23
    assert summaries[2].files[0].read_bytes() == whole


def test_a_run_goes_on_where_it_was(plan: Make, whole: bytes) -> None:
    made = plan()
    run(made)
    (made.folder / ANSWERS).unlink()
    shard_path(made.folder, 1).unlink()
    kept = shard_path(made.folder, 2).stat().st_mtime_ns
    summary = run(made)
    assert (summary.before, summary.done) == (19, 23)
    assert shard_path(made.folder, 2).stat().st_mtime_ns == kept
    assert (made.folder / ANSWERS).read_bytes() == whole


@pytest.mark.parametrize("cut", [1, 30, 0])
def test_a_shard_cut_short_is_answered_again(plan: Make, whole: bytes, cut: int) -> None:
    """Within a line, at a line's end, and with nothing in it."""
    made = plan()
    run(made)
    path = shard_path(made.folder, 3)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    path.write_bytes({1: data[:-1], 30: b"".join(lines[:2]), 0: b""}[cut])
    run(made)
    assert (made.folder / ANSWERS).read_bytes() == whole


def test_shards_of_other_rows_are_answered_again(plan: Make, whole: bytes) -> None:
    made = plan()
    run(made)
    shard_path(made.folder, 0).write_bytes(shard_path(made.folder, 1).read_bytes())
    run(made)
    assert (made.folder / ANSWERS).read_bytes() == whole


def test_other_runs_are_refused_by_name(plan: Make, images: Path) -> None:
    run(plan())
    shard_path(plan().folder, 0).unlink()
    with pytest.raises(OtherRunError, match=r"differs in model \('rote' there, 'parrot' here\)"):
        run(plan(starter=Rote("parrot")))
    with pytest.raises(OtherRunError, match=r"asked.temperature \(None there, 1 here\)"):
        run(plan(starter=Rote(asked={"temperature": 1})))  # though nothing is left to answer
    with pytest.raises(OtherRunError, match=r"shard_size \(4 there, 5 here\)"):
        run(plan(shard_size=5))
    with pytest.raises(OtherRunError, match="sha256"):
        run(plan(source=Source(str(images), "Why?")))
    (images / "new.png").write_bytes(b"new")
    with pytest.raises(OtherRunError, match=r"rows \(23 there, 24 here\)"):
        run(plan())


def test_a_folder_with_something_else_is_left_alone(plan: Make) -> None:
    made = plan()
    made.folder.mkdir()
    (made.folder / "manifest.json").write_text('{"format": 2, "config": {}}')
    with pytest.raises(OtherRunError, match="another version"):
        run(made)


def test_failed_rows_are_rows_and_can_be_tried_again(plan: Make, images: Path) -> None:
    (images / "p01.png").write_bytes(b"bad")
    made = plan()
    summary = run(made)
    assert summary.failed == 1
    assert summary.reasons == {"no image": 1}
    assert run(made).failed == 0  # nothing was answered again
    (images / "p01.png").write_bytes(b"good")
    summary = run(plan(retry_failed=True))
    assert (summary.before, summary.failed) == (19, 0)
    records = [json.loads(line) for line in (made.folder / ANSWERS).open()]
    assert all("text" in one for one in records)


def test_two_drivers_of_one_folder(plan: Make) -> None:
    slow, started, release = plan(starter=Rote(pause=0.05)), threading.Event(), []

    def watch(event: Event, summary: Summary) -> None:
        started.set()

    thread = threading.Thread(target=lambda: release.append(run(slow, watch)))
    thread.start()
    assert started.wait(30)
    with pytest.raises(UserError, match="Another run is at work"):
        run(plan())
    with pytest.raises(UserError, match="Another run is at work"):
        run(plan(part=(0, 2)))
    thread.join()
    assert release[0].done == 23


def test_devices_are_known_of_all_workers_and_all_sessions(plan: Make) -> None:
    assert run(plan(workers=2)).devices == ["a slide rule"]
    made = plan("mixed", workers=2, starter=Rote(pause=0.1, devices=("cards", "chips")))
    assert sorted(run(made).devices) == ["cards", "chips"]
    shard_path(made.folder, 0).unlink()
    later = plan("mixed", starter=Rote(devices=("fingers",)))
    assert sorted(run(later).devices) == ["cards", "chips", "fingers"]


def test_a_part_sees_what_another_one_answers_with(plan: Make) -> None:
    """Both began when nobody had a model yet."""
    made = plan()
    run(plan(part=(0, 2)))
    with pytest.raises(OtherRunError, match=r"model \('rote' there, 'parrot' here\)"):
        identify(made.folder, {"model": "parrot"}, "a slide rule")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"shard_size": 0}, "shard must be at least 1"),
        ({"part": (3, 3)}, "parts of 3 are 0 to 2"),
        ({"formats": ("xml",)}, "jsonl, parquet"),
    ],
)
def test_what_cannot_be_asked_for(plan: Make, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(**options)


def test_parquet_has_the_same_answers(plan: Make) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    made: Caption = plan(formats=("jsonl", "parquet"))
    summary = run(made)
    lines = [json.loads(line) for line in summary.files[0].open()]
    table = pq.read_table(summary.files[1]).to_pylist()
    for name in ("id", "image", "question", "text", "finish_reason"):
        assert [one[name] for one in table] == [one[name] for one in lines]
