"""``secondsight describe --list``: nothing lost, nothing answered twice, nothing half-written."""

import csv
import errno
import io
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import secondsight
from secondsight import Model, QuestionError
from secondsight.answers_file import AnswersFile
from support import process

SHORT = ("--max-new-tokens", 6, "--method", "ritual")


@pytest.fixture
def make_list(tmp_path: Path, image_files):
    """Writes a list of images, its paths relative to it."""

    def write(count: int, **fields: object) -> Path:
        lines = [
            {"image": path.name, "id": n, **fields} for n, path in enumerate(image_files(count))
        ]
        path = tmp_path / "list.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_line_is_the_answer_of_a_run_of_its_own(
    run, tiny_llava, make_list, tmp_path: Path
) -> None:
    listed, out = make_list(3, question="What is it?"), tmp_path / "out.jsonl"
    result = run("describe", "--list", listed, "--out", out, "-m", tiny_llava, *SHORT)
    assert result.code == 0
    assert result.out == ""
    assert "3 of 3 answered" in result.err
    records = read(out)
    assert [(one["image"], one["id"]) for one in records] == [
        ("image0.png", 0),
        ("image1.png", 1),
        ("image2.png", 2),
    ]
    assert all(one["question"] == "What is it?" for one in records)
    assert all(one["provenance"]["method"]["spec"] == "ritual" for one in records)
    single = tmp_path / "single.jsonl"
    run("describe", "--list", listed, "--out", single, "-m", tiny_llava, "--batch-size", 1, *SHORT)
    assert read(single) == records


def test_interrupted_and_killed_and_continued_equals_uninterrupted(
    run, start, tiny_llava, make_list, tmp_path: Path
) -> None:
    listed, out, whole = make_list(80), tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    ask = ("describe", "--list", listed, "-m", tiny_llava, "--batch-size", 2, *SHORT)
    lines = 0
    for stop, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        with start(*ask, "--out", out) as process:
            while process.poll() is None and (not out.exists() or len(read_whole(out)) < lines + 3):
                time.sleep(0.02)
            process.send_signal(stop)
            _, err = process.communicate(timeout=300)
        assert process.returncode == code, err
        assert len(read_whole(out)) >= lines + 3
        lines = len(read_whole(out))
        assert lines < 80
        if stop == signal.SIGINT:
            assert f"Interrupted: {lines} of 80 answers are in {out}" in err
            assert "again to continue" in err
            assert "Traceback" not in err
    assert f"80 of 80 answered ({lines} from before)" in run(*ask, "--out", out).err
    run(*ask, "--out", whole)
    assert out.read_bytes() == whole.read_bytes()


def read_whole(path: Path) -> list[dict]:
    """The lines that end in a newline."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_a_half_written_last_line_is_repaired(run, tiny_llava, make_list, tmp_path: Path) -> None:
    listed, out = make_list(3), tmp_path / "out.jsonl"
    ask = ("describe", "--list", listed, "--out", out, "-m", tiny_llava, *SHORT)
    run(*ask)
    whole = out.read_bytes()
    out.write_bytes(whole[:-25])
    assert "(2 from before)" in run(*ask).err
    assert out.read_bytes() == whole
    assert run(*ask).err.startswith("3 of 3 answered (3 from before)")
    assert out.read_bytes() == whole


def test_other_settings_are_refused_by_name(run, tiny_llava, make_list, tmp_path: Path) -> None:
    listed, out = make_list(1), tmp_path / "out.jsonl"
    ask = ("describe", "--list", listed, "--out", out, "-m", tiny_llava, "--max-new-tokens", 6)
    run(*ask)
    before = out.read_bytes()
    for change, named in (
        (("--method", "vcd"), "method ('regular' there, 'vcd' here)"),
        (("--seed", 3), "seed (0 there, 3 here)"),
        (("--temperature", 1), "temperature (0.0 there, 1.0 here)"),
        (("--dtype", "bfloat16"), "dtype ('float32' there, 'bfloat16' here)"),
        (("-q", "Why?"), "'Describe this image in detail.' there, 'Why?' here"),
    ):
        result = run(*ask, *change)
        assert result.code == 2
        assert named in result.err
        assert str(out) in result.err
    assert out.read_bytes() == before


def test_broken_images_are_recorded_counted_and_tried_again(
    run, tiny_llava, make_list, tmp_path: Path
) -> None:
    listed, out = make_list(4), tmp_path / "out.jsonl"
    whole = tmp_path / "whole.jsonl"
    ask = ("describe", "--list", listed, "-m", tiny_llava, *SHORT)
    run(*ask, "--out", whole)
    broken, absent = tmp_path / "image1.png", tmp_path / "image2.png"
    good = broken.read_bytes(), absent.read_bytes()
    broken.write_bytes(good[0][:80])
    absent.unlink()
    for _ in range(2):  # the second run tries again and finds the same
        result = run(*ask, "--out", out)
        assert result.code == 1
        assert "2 of 4 answered" in result.err
        assert "2 failed" in result.err
        assert {one["image"] for one in read(out) if "error" in one} == {broken.name, absent.name}
        assert len(read(out)) == 4
    broken.write_bytes(good[0])
    absent.write_bytes(good[1])
    result = run(*ask, "--out", out)
    assert result.code == 0
    assert sorted(out.read_text().splitlines()) == sorted(whole.read_text().splitlines())


def test_a_question_that_is_too_long_fails_alone(
    run, tiny_llava, image_files, tmp_path: Path
) -> None:
    first, second = image_files(2)
    listed, out = tmp_path / "list.jsonl", tmp_path / "out.jsonl"
    lines = [{"image": first.name, "question": "why " * 600}, {"image": second.name}]
    listed.write_text("\n".join(map(json.dumps, lines)))
    result = run("describe", "--list", listed, "--out", out, "-m", tiny_llava, *SHORT)
    assert result.code == 1
    assert "context" in read(out)[0]["error"]
    assert read(out)[1]["text"]


def test_a_line_that_stands_twice_is_answered_twice(
    run, tiny_llava, image_files, tmp_path: Path
) -> None:
    [path] = image_files(1)
    listed, out = tmp_path / "list.jsonl", tmp_path / "out.jsonl"
    listed.write_text(f'{{"image": "{path}"}}\n\n{{"image": "{path}"}}\n')
    ask = ("describe", "--list", listed, "--out", out, "-m", tiny_llava, *SHORT)
    assert run(*ask).code == 0
    assert len(read(out)) == 2
    assert read(out)[0] == read(out)[1]
    assert run(*ask).code == 0
    assert len(read(out)) == 2


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("not json\n", "Line 1"),
        ('{"image": "a.png"}\n{"picture": "b.png"}\n', "Line 2"),
        ('{"image": "a.png", "question": " "}\n', "empty question"),
        ('{"image": "a.png", "id": 1.5}\n', "id"),
        ("\n", "is empty"),
        ("", "is empty"),
        ('{"image": []}\n', "Line 1"),
        ('{"image": ["a.png", null]}\n', "Line 1"),
        ('["a.png"]\n', "Line 1"),
        ('{"image": "a.png", "label": "yes"}\n', "unknown field 'label'"),
        ('{"image": "a.png", "qestion": "Why?"}\n', "Did you mean 'question'"),
        ('{"image": "a.png", "text": "Why?", "question": "Who?"}\n', "both 'question' and 'text'"),
        ('{"image": "a.png", "id": 1, "question_id": 1}\n', "both 'id' and 'question_id'"),
        ('{"image": "a.png", "image": "b.png"}\n', "a field twice"),
        ('{"image": "a\\ud800.png"}\n', "half a character"),
        ('{"image": "a.png", "question": "\\udfff"}\n', "half a character"),
        ('{"image": "a.png", "id": "\\ud800"}\n', "half a character"),
        ('{"image": "a.png", "id": ' + "9" * 5000 + "}\n", "Line 1"),
        ('{"image": ' + "[" * 100_000 + "\n", "Line 1"),
        ('{"image": "a.png", "question": "' + "why " * 300_000 + '"}\n', "1,200,000 characters"),
    ],
)
def test_a_bad_list_is_refused_before_anything_is_answered(
    run, tmp_path: Path, content: str, named: str
) -> None:
    listed, out = tmp_path / "list.jsonl", tmp_path / "out.jsonl"
    listed.write_text(content)
    result = run("describe", "--list", listed, "--out", out)
    assert result.code == 2
    assert named in result.err
    assert str(listed) in result.err
    assert not out.exists()


def test_nothing_is_left_where_no_answer_came_to_be(run, make_list, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run("describe", "--list", make_list(1), "--out", out, "-m", tmp_path / "absent")
    assert result.code == 2
    assert not out.exists()


@pytest.mark.parametrize("content", ["my notes", "my notes\n", '{"image": "a.png"}\n', "[1]\n"])
def test_a_file_of_something_else_is_left_alone(
    run, make_list, tmp_path: Path, content: str
) -> None:
    out = tmp_path / "notes.txt"
    out.write_text(content)
    result = run("describe", "--list", make_list(1), "--out", out)
    assert result.code == 2
    assert "Line 1" in result.err
    assert str(out) in result.err
    assert out.read_text() == content


def test_an_unwritable_file_is_named(run, make_list, tmp_path: Path) -> None:
    listed = make_list(1)
    for out, reason in (
        (tmp_path / "no" / "such" / "folder.jsonl", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        result = run("describe", "--list", listed, "--out", out)
        assert result.code == 2
        assert str(out) in result.err
        assert reason in result.err


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_is_a_clear_error(run, tiny_llava, make_list) -> None:
    result = run("describe", "--list", make_list(1), "--out", "/dev/full", "-m", tiny_llava, *SHORT)
    assert result.code == 2
    assert "No space left on device" in result.err


def test_a_disk_that_fills_up_keeps_every_finished_line(
    run, tiny_llava, make_list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out, whole = make_list(4), tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    ask = ("describe", "--list", listed, "-m", tiny_llava, "--batch-size", 1, *SHORT)
    run(*ask, "--out", whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    room = len(lines[0]) + len(lines[1]) // 2

    class Disk:
        """A file on a disk with little room: the last write is cut short, then fails."""

        def __init__(self, file: object) -> None:
            self.file, self.left = file, room

        def write(self, data: memoryview) -> int:
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = self.file.write(data[: self.left])
            self.left -= written
            return written

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    def small(self: AnswersFile) -> AnswersFile:
        self._file = Disk(self._file)
        return self

    with monkeypatch.context() as patch:
        patch.setattr(AnswersFile, "__enter__", small)
        result = run(*ask, "--out", out)
    assert result.code == 2
    assert "No space left on device" in result.err
    assert "1 new lines are in it; run again to continue" in result.err
    assert out.read_bytes() == lines[0]
    assert run(*ask, "--out", out).code == 0
    assert out.read_bytes() == whole.read_bytes()


def test_options_that_do_not_go_together_are_refused(run, make_list, tmp_path: Path) -> None:
    listed, out = make_list(1), tmp_path / "out.jsonl"
    for args, named in (
        (("--list", listed), "--out"),
        (("--image-folder", tmp_path), "--list"),
        (("--list", listed, "--image-folder", listed, "--out", out), "is no folder"),
        (("--csv", "--json"), "not both"),
        (("--list", listed, "--out", out, "--json"), "--json"),
        (("--list", listed, "--out", out, "a.png"), "not both"),
        (("--list", listed, "--out", out, "--batch-size", 0), "--batch-size"),
        (("--list", tmp_path / "absent", "--out", out), "absent"),
    ):
        result = run("describe", *args)
        assert result.code == 2
        assert named in result.err
    assert not out.exists()


def test_what_fails_in_the_engine_is_put_down(
    run, tiny_llava, make_list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Model.prepare

    def picky(self: Model, request):
        if request.sample.id == 1:
            raise QuestionError("not this one")
        return prepare(self, request)

    monkeypatch.setattr(Model, "prepare", picky)
    out = tmp_path / "out.jsonl"
    result = run("describe", "--list", make_list(3), "--out", out, "-m", tiny_llava, *SHORT)
    assert result.code == 1
    assert "2 of 3 answered" in result.err
    assert ["error" in one for one in read(out)] == [False, True, False]


def test_only_failures(run, tiny_llava, tmp_path: Path) -> None:
    listed, out = tmp_path / "list.jsonl", tmp_path / "out.jsonl"
    listed.write_text('{"image": "a.png"}\n{"image": "b.png"}\n')
    ask = ("describe", "--list", listed, "--out", out, "-m", tiny_llava, *SHORT)
    for _ in range(2):
        result = run(*ask)
        assert result.code == 1
        assert result.err.startswith(f"0 of 2 answered: {out}\n")
        assert "2 failed" in result.err
        assert [one["image"] for one in read(out)] == ["a.png", "b.png"]


def test_interrupted_among_failures_counts_answers_alone(
    run, tiny_llava, make_list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out = make_list(5), tmp_path / "out.jsonl"
    for number in range(3):
        (tmp_path / f"image{number}.png").unlink()
    ask = ("describe", "--list", listed, "--out", out, "-m", tiny_llava, "--batch-size", 1, *SHORT)
    prepare = Model.prepare

    def stop_at_4(self: Model, request):
        if request.sample.id == 4:
            raise KeyboardInterrupt
        return prepare(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "prepare", stop_at_4)
        result = run(*ask)
    assert result.code == 130
    assert "Interrupted: 1 of 5 answers are in" in result.err
    result = run(*ask)
    assert result.code == 1
    assert "2 of 5 answered (1 from before)" in result.err


def test_what_is_unusual_is_said_and_done(run, tiny_llava, image_files, tmp_path: Path) -> None:
    first, second = (path.name for path in image_files(2))
    listed, out = tmp_path / "list.jsonl", tmp_path / "out.jsonl"
    lines = [
        {"image": [first, first], "id": 1},
        {"image": second, "question": "Why?", "id": 1},
        {"image": second, "question": "Why?", "id": 1},
    ]
    listed.write_text("\n".join(map(json.dumps, lines)))
    ask = ("describe", "--list", listed, "--out", out, "-m", tiny_llava, *SHORT)
    result = run(*ask)
    assert result.code == 0
    assert "Question 1 names an image twice; it is shown twice." in result.err
    assert "Questions 1 and 2 differ and have the same id 1; both are answered." in result.err
    assert "Question 3 is question 2 again; both are answered." in result.err
    assert len(read(out)) == 3
    assert "3 of 3 answered (3 from before)" in run(*ask).err


def test_llavas_question_lines(run, tiny_llava, image_files, model: Model, tmp_path: Path) -> None:
    [path] = image_files(1)
    (tmp_path / "lists").mkdir()
    listed, out = tmp_path / "lists" / "questions.jsonl", tmp_path / "out.jsonl"
    question = "Is there a dog in the image?"
    line = {"question_id": 1, "image": path.name, "text": question, "category": "random"}
    listed.write_text(json.dumps(line))
    result = run(
        "describe", "--list", listed, "--image-folder", tmp_path, "--out", out, "-m", tiny_llava,
        "--max-new-tokens", 6,
    )  # fmt: skip
    assert result.code == 0
    [record] = read(out)
    assert (record["image"], record["question"], record["id"]) == (path.name, question, 1)
    assert record["text"] == model.answer(path, question, max_new_tokens=6).text


def test_a_list_by_standard_input(run, tiny_llava, image_files, tmp_path: Path) -> None:
    [path] = image_files(1)
    out = tmp_path / "out.jsonl"
    ask = ("describe", "--list", "-", "--out", out, "-m", tiny_llava, *SHORT)
    assert run(*ask, stdin=json.dumps({"image": str(path)})).code == 0
    assert read(out)[0]["image"] == str(path)


def test_images_named_here_are_answered_like_a_list(
    run, tiny_llava, image_files, tmp_path: Path
) -> None:
    image_files(3)
    (tmp_path / "image1.png").write_bytes(b"no image")
    out = tmp_path / "out.jsonl"
    ask = ("describe", tmp_path, "--out", out, "-m", tiny_llava, "--csv", *SHORT)
    for _ in range(2):
        result = run(*ask)
        assert result.code == 1
        assert "2 of 3 answered" in result.err
        rows = list(csv.DictReader(io.StringIO(result.out)))
        assert [Path(row["image"]).name for row in rows] == [
            f"image{number}.png" for number in range(3)
        ]
        assert [bool(row["text"]) for row in rows] == [True, False, True]
        assert "not an image" in rows[1]["error"]
    with_stdin = run("describe", "-", "--out", out, "-m", tiny_llava)
    assert with_stdin.code == 2
    assert "cannot be read again" in with_stdin.err


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are not UTF-8")
def test_a_name_that_is_not_utf_8(run, tiny_llava, image_files, tmp_path: Path) -> None:
    [path] = image_files(1)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    path.rename(odd)
    out = tmp_path / "out.jsonl"
    ask = ("describe", odd, "--out", out, "-m", tiny_llava, *SHORT)
    assert run(*ask).code == 0
    assert [one["image"] for one in read(out)] == [odd]
    assert "1 of 1 answered (1 from before)" in run(*ask).err


def test_several_images_and_none(
    run, tiny_llava, image_files, model: Model, tmp_path: Path
) -> None:
    first, second = image_files(2)
    listed, out = tmp_path / "list.jsonl", tmp_path / "out.jsonl"
    lines = [{"image": [first.name, second.name]}, {"image": None}, {"image": [first.name]}]
    listed.write_text("\n".join(map(json.dumps, lines)))
    ask = ("describe", "--list", listed, "--out", out, "-m", tiny_llava, "--max-new-tokens", 6)
    assert run(*ask).code == 0
    question = "Describe this image in detail."
    expected = [
        model.answer(images, question, max_new_tokens=6).text
        for images in ([first, second], None, first)
    ]
    assert [one["text"] for one in read(out)] == expected
    assert [one["image"] for one in read(out)] == [one["image"] for one in lines]
    before = out.read_bytes()
    assert "3 of 3 answered (3 from before)" in run(*ask).err
    assert out.read_bytes() == before


@pytest.mark.slow
def test_two_hundred_images_in_batches_of_sixteen_take_little_memory(tmp_path: Path) -> None:
    """Import and weights take most of it: nothing may grow with the list."""
    pytest.importorskip("resource", reason="Windows counts memory in another way")
    generator = np.random.default_rng(0)
    base = np.asarray(Image.open(secondsight.demo_image()).convert("RGB").resize((640, 480)))
    listed = tmp_path / "list.jsonl"
    lines = []
    for number in range(200):
        moved = np.roll(base, tuple(generator.integers(480, size=2)), axis=(0, 1))
        Image.fromarray(moved).save(tmp_path / f"{number}.jpg")
        lines.append(json.dumps({"image": f"{number}.jpg"}) + "\n")
    listed.write_text("".join(lines))
    code = (
        "import resource, sys\nfrom secondsight.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    out = tmp_path / "out.jsonl"
    done = process.run(
        [sys.executable, "-c", code, "describe", "--list", listed, "--out", out, "--batch-size", 16]
    )
    assert done.returncode == 0, done.stderr
    assert len(read(out)) == 200
    kilobytes = 1024 if sys.platform == "darwin" else 1
    assert int(done.stdout) / kilobytes < 1.2e9 / 1024
