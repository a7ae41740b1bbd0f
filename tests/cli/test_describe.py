"""``secondsight describe`` of images named on the command line."""

import csv
import io
import json
import os
from pathlib import Path

import pytest

from secondsight import images
from secondsight.errors import UserError

SHORT = ("--max-new-tokens", 8)


def test_the_stream_is_the_text_of_the_json(run, tiny_llava, image_files) -> None:
    [path] = image_files(1)
    ask = ("describe", path, "-m", tiny_llava, "-q", "What is it?", "--method", "ritual", *SHORT)
    told, record = run(*ask), json.loads(run(*ask, "--json").out)
    assert told.code == 0
    assert told.out == record["text"] + "\n"
    assert record["image"] == str(path)
    assert record["question"] == "What is it?"
    assert record["provenance"]["method"]["spec"] == "ritual"


def test_several_images_stand_under_their_names(run, tiny_llava, image_files) -> None:
    first, second = image_files(2)
    both = run("describe", first, second, "-m", tiny_llava, *SHORT)
    alone = [run("describe", path, "-m", tiny_llava, *SHORT).out for path in (first, second)]
    assert both.out == f"{first}\n{alone[0]}\n{second}\n{alone[1]}"
    lines = run("describe", first, second, "-m", tiny_llava, "--json", *SHORT).out.splitlines()
    assert [json.loads(line)["image"] for line in lines] == [str(first), str(second)]


def test_a_broken_image_among_others_does_not_stop_them(run, tiny_llava, image_files) -> None:
    first, broken, third = image_files(3)
    broken.write_bytes(broken.read_bytes()[:100])
    result = run("describe", first, broken, third, "-m", tiny_llava, "--json", *SHORT)
    assert result.code == 2
    assert str(broken) in result.err
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [record["image"] for record in records] == [str(first), str(third)]


def test_settings_reach_the_answer(run, tiny_llava, image_files) -> None:
    [path] = image_files(1)
    result = run(
        "describe", path, "-m", tiny_llava, "--temperature", 0.7, "--top-p", 0.9, "--top-k", 20,
        "--seed", 5, "--stop", "xyz", "--stop", "uvw", "--preset", "ritual-2024",
        "--dtype", "float32", "--device", "cpu", "--json", *SHORT,
    )  # fmt: skip
    provenance = json.loads(result.out)["provenance"]
    assert provenance["seed"] == 5
    assert provenance["preset"] == "ritual-2024"
    assert provenance["settings"] == {
        "max_new_tokens": 8,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
        "repetition_penalty": 1.0,
        "stop": ["xyz", "uvw"],
    }


def test_beams_search(run, tiny_llava, image_files) -> None:
    [path] = image_files(1)
    ask = ("describe", path, "-m", tiny_llava, "--method", "vcd", "--beams", 3, *SHORT)
    record = json.loads(run(*ask, "--json").out)
    assert record["provenance"]["settings"]["num_beams"] == 3
    assert record["score"] < 0
    assert run(*ask).out == record["text"] + "\n"
    refused = run(*ask, "--temperature", 1)
    assert refused.code == 2
    assert "Beam search draws nothing" in refused.err


def test_without_arguments_the_shipped_image(
    run, tiny_llava, image_files, monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = image_files(1)
    monkeypatch.setattr(images, "demo_image", lambda: path)
    result = run("describe", "-m", tiny_llava, "--json", *SHORT)
    assert json.loads(result.out)["image"] == str(path)


def test_an_installation_without_the_image_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images.resources, "files", lambda package: tmp_path)
    with pytest.raises(UserError, match="lacks the demo image"):
        images.demo_image()


def test_only_the_answer_is_on_stdout(start, tiny_llava, image_files) -> None:
    [path] = image_files(1)
    with start("describe", path, "-m", tiny_llava, "--json", *SHORT) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0
    assert json.loads(out)["finish_reason"] in ("eos", "length")
    assert err == ""


def test_images_together_are_one_question(run, tiny_llava, image_files, model) -> None:
    first, second = image_files(2)
    ask = ("describe", first, second, "--together", "-m", tiny_llava, "-q", "Alike?", *SHORT)
    record = json.loads(run(*ask, "--json").out)
    assert record["image"] == [str(first), str(second)]
    expected = model.answer([first, second], "Alike?", max_new_tokens=8)
    assert record["text"] == expected.text
    assert run(*ask).out == expected.text + "\n"


def test_no_image(run, tiny_llava, image_files, model) -> None:
    ask = ("describe", "--no-image", "-m", tiny_llava, "-q", "Why?", *SHORT)
    record = json.loads(run(*ask, "--json").out)
    assert record["image"] is None
    assert record["text"] == model.answer(None, "Why?", max_new_tokens=8).text
    [path] = image_files(1)
    both = run(*ask, path)
    assert both.code == 2
    assert "not both" in both.err
    assert "none was given" in run(*ask, "--method", "ritual").err


def test_standard_input(run, tiny_llava, image_files) -> None:
    [path] = image_files(1)
    ask = ("describe", "-", "-m", tiny_llava, "--json", *SHORT)
    record = json.loads(run(*ask, stdin=path.read_bytes()).out)
    assert record["image"] == "-"
    named = json.loads(run("describe", path, "-m", tiny_llava, "--json", *SHORT).out)
    assert record["text"] == named["text"]
    for given, words in ((b"", "it is empty"), (b"no image", "not an image")):
        result = run(*ask, stdin=given)
        assert (result.code, result.out) == (2, "")
        assert words in result.err
    twice = run("describe", "-", "-", "-m", tiny_llava)
    assert twice.code == 2
    assert "can be read once" in twice.err


def test_folders_and_patterns(run, tiny_llava, image_files, tmp_path: Path) -> None:
    image_files(3)
    (tmp_path / "image0.png").rename(tmp_path / "image10.PNG")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "x.png").write_bytes((tmp_path / "image1.png").read_bytes())

    def names(*images: object) -> list[str]:
        result = run("describe", *images, "-m", tiny_llava, "--json", "--max-new-tokens", 1)
        assert result.code == 0, result.err
        lines = map(json.loads, result.out.splitlines())
        return [str(Path(one["image"]).relative_to(tmp_path)) for one in lines]

    assert names(tmp_path) == ["image1.png", "image2.png", "image10.PNG"]
    assert names(tmp_path / "image?.png") == ["image1.png", "image2.png"]
    assert names(tmp_path / "*" / "*.png", tmp_path / "image2.png") == [
        "below/x.png",
        "image2.png",
    ]
    assert names(tmp_path / "**" / "*1.png", tmp_path / "below") == ["image1.png", "below/x.png"]


def test_csv(run, tiny_llava, image_files) -> None:
    first, second = image_files(2)
    ask = ("describe", "-m", tiny_llava, "-q", 'Is it "red", or not?', *SHORT)
    result = run(*ask, first, second, "--csv")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    records = list(map(json.loads, run(*ask, first, second, "--json").out.splitlines()))
    for row, record in zip(rows, records, strict=True):
        wanted = {name: record[name] for name in ("image", "question", "text", "finish_reason")}
        assert row == {**wanted, "id": "", "error": ""}
    [both] = csv.DictReader(io.StringIO(run(*ask, first, second, "--together", "--csv").out))
    assert json.loads(both["image"]) == [str(first), str(second)]


@pytest.mark.parametrize("name", ["~nobody-there/a.png", "a\0b.png", "\ud800.png", "x" * 9999])
def test_names_that_name_nothing(run, name: str) -> None:
    for command in ("describe", "compare", "trace"):
        result = run(command, name)
        assert result.code == 2
        assert result.err.startswith("Error: ")
        assert result.err.count("\n") == 1
        assert len(result.err) < 600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_refused_at_once(run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in ((tmp_path / "pipe.png", "is a pipe"), ("/dev/zero", "is a device")):
        result = run("describe", name)
        assert result.code == 2
        assert words in result.err
        listed = run("describe", "--list", name, "--out", tmp_path / "out.jsonl")
        assert listed.code == 2
        assert "is no file" in listed.err
