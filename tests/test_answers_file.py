"""Files of answers: whole lines, one writer, nothing mixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from secondsight.answers_file import AnswerLines, AnswersFile, OtherAnswersError, differences
from secondsight.errors import UserError

LINES = AnswerLines(
    of="a test",
    beginning=b'{"id": ',
    key=lambda record: record["id"],
    identity=lambda record: {"model": record["model"], "settings": {"seed": record["seed"]}},
)


def line(number: int, **fields: object) -> dict[str, object]:
    return {"id": number, "model": "m", "seed": 0, "text": "\u00fcber\u2028all", **fields}


def opened(path: Path) -> AnswersFile[object]:
    return AnswersFile(path, LINES)


def test_lines_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with opened(path) as answers:
        answers.append([line(1), line(2), line(2), line(3, error="broken", text=None)])
        assert (answers.answered, answers.failed) == (3, 1)
    assert path.read_bytes().count(b"\n") == 4
    with opened(path) as answers:
        assert answers.done == {1: 1, 2: 2}
        assert answers.made_with == [{"model": "m", "settings": {"seed": 0}}]
        assert [record["id"] for record in answers.records()] == [1, 2, 2]  # 3 is tried again
        answers.append([line(3)])
    assert [json.loads(one)["id"] for one in path.open("rb")] == [1, 2, 2, 3]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_cut_off_at_any_byte(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "answers.jsonl"
    with opened(path) as answers:
        answers.append([line(1), line(2)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with opened(path) as answers:
        assert set(answers.done) == {1}
        answers.append([line(2)])
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "content",
    ["notes", "notes\n", "[1]\n", '{"id": 1}\n', '{"id": 1, "text": ""}\n', "[" * 100_000 + "\n"],
)
def test_what_is_not_ours_stays_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"Line 1 of .*notes\.txt' is not an answer of a test"):
        opened(path)
    assert path.read_text() == content
    path.write_text("")
    with opened(path):  # the refusal let go of it
        pass


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with opened(path) as answers:
        with pytest.raises(UserError, match="another process is writing it"):
            opened(path)
        answers.append([line(1)])
    with opened(path) as answers:
        assert set(answers.done) == {1}


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_answers_file import line, opened
answers = opened(Path({str(path)!r}))
answers.append([line(1)])
print("open", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(UserError, match="another process"):
            opened(path)
        process.kill()
    with opened(path) as answers:
        assert set(answers.done) == {1}


def test_answers_of_another_making_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with opened(path) as answers:
        answers.append([line(1)])
    with opened(path) as answers:
        answers.require({"model": "m", "settings": {"seed": 0}})
        with pytest.raises(OtherAnswersError, match=r"settings\.seed \(0 there, 3 here\)"):
            answers.require({"model": "m", "settings": {"seed": 3}})
        answers.append([line(2, model="n")])
    with opened(path) as answers, pytest.raises(OtherAnswersError, match="model \\('n' there"):
        answers.require({"model": "m", "settings": {"seed": 0}})


def test_nothing_changes_before_something_is_added(tmp_path: Path) -> None:
    """What is to be tried again, and a half line, are kept where the file is refused after all."""
    path = tmp_path / "answers.jsonl"
    with opened(path) as answers:
        answers.append([line(1, error="broken"), line(2), line(3)])
    content = path.read_bytes()[:-5]
    path.write_bytes(content)
    with opened(path) as answers:
        assert [record["id"] for record in answers.records()] == [2]
        with pytest.raises(OtherAnswersError):
            answers.require({"model": "other", "settings": {"seed": 0}})
    assert path.read_bytes() == content
    with opened(path) as answers:
        answers.append([line(1)])
    assert [json.loads(one)["id"] for one in path.open("rb")] == [2, 1]


def test_an_empty_new_file_is_removed_again(tmp_path: Path) -> None:
    with opened(tmp_path / "new.jsonl"):
        pass
    assert not (tmp_path / "new.jsonl").exists()
    (tmp_path / "old.jsonl").touch()
    with opened(tmp_path / "old.jsonl"):
        pass
    assert (tmp_path / "old.jsonl").exists()


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file or directory"):
        opened(tmp_path / "no" / "such.jsonl")
    assert not (tmp_path / "no").exists()
    with pytest.raises(UserError, match="Is a directory"):
        opened(tmp_path)


def test_a_pipe_is_only_written_to(tmp_path: Path) -> None:
    read, write = os.pipe()
    with opened(Path(f"/dev/fd/{write}")) as answers:
        answers.append([line(1)])
        assert list(answers.records()) == []
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as end:
        assert json.loads(end.read()) == line(1)


def test_everything_is_put_on_the_disk_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with AnswersFile(tmp_path / "a.jsonl", LINES, sync_every=0) as answers:
        for number in range(3):
            answers.append([line(number)])
    assert len(synced) == 4
    with AnswersFile(tmp_path / "a.jsonl", LINES, sync_every=3600) as answers:
        for number in range(3, 6):
            answers.append([line(number)])
    assert len(synced) == 5


def test_differences_name_every_place() -> None:
    there = {"a": 1, "b": {"c": [1], "d": 2}, "long": "x" * 100}
    here = {"a": 1, "b": {"c": [2], "d": 2}, "new": None, "long": "y"}
    assert list(differences(there, here)) == [
        "b.c ([1] there, [2] here)",
        f"long ('{'x' * 56}... there, 'y' here)",
    ]
