"""``secondsight caption``: the answers of the model itself; refused as other commands do."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import secondsight

SHORT = ("--max-new-tokens", "5")


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_each_answer_is_the_models_own(run, tiny_llava, image_files, tmp_path: Path) -> None:
    image_files(5)
    (tmp_path / "broken.png").write_bytes(b"no image")
    out = tmp_path / "run"
    ask = ("caption", tmp_path, "--out", out, "-m", tiny_llava, "--method", "vcd", *SHORT)
    ask = (*ask, "--shard-size", "4", "-q", "Is it red?", "--seed", "3")
    done = run(*ask)
    assert done.code == 1
    assert "6 of 6 done" in done.err
    assert "1 failed" in done.err
    records = [json.loads(line) for line in (out / "answers.jsonl").open()]
    assert [one["id"] for one in records] == ["broken.png", *(f"image{n}.png" for n in range(5))]
    model = secondsight.load(tiny_llava)
    for record in records[1:]:
        answer = model.answer(record["image"], "Is it red?", "vcd", max_new_tokens=5, seed=3)
        assert record["text"] == answer.text
        assert record["views"] == answer.provenance["views"]
    again = run(*ask, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["from_before"] == 6
    other = run(*ask, "--temperature", "1")
    assert other.code == 2
    assert "settings.temperature (0.0 there, 1.0 here)" in " ".join(other.err.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "0"), "workers must be at least 1"),
        (("--shard", "3/3"), "parts of 3 are 0 to 2"),
        (("--shard", "a"), "--shard must be I/N"),
        (("--format", "xml"), "The format must be jsonl, parquet"),
        (("--batch-size", "0"), "--batch-size must be at least 1"),
        (("--method", "magic"), "magic"),
        (("--temperature", "-1"), "temperature"),
    ],
)
def test_what_is_refused(run, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    done = run("caption", tmp_path, "--out", tmp_path / "run", *options)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert not (tmp_path / "run").exists()


def test_nothing_to_caption(run, tmp_path: Path) -> None:
    done = run("caption", tmp_path / "none", "--out", tmp_path / "run")
    assert done.code == 2
    assert "There is no file or folder" in done.err


def test_a_model_that_does_not_load(run, tmp_path: Path, image_files) -> None:
    image_files(1)
    (tmp_path / "empty").mkdir()
    done = run("caption", tmp_path, "--out", tmp_path / "run", "-m", tmp_path / "empty")
    assert done.code == 2
    assert "config.json" in done.err
    assert "Traceback" not in done.err
