"""``describe --doubts`` and ``calibrate``: what the shipped model doubts of its own answers."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import secondsight
from secondsight.benchmarks.sticker_source import sticker_images, sticker_instances
from secondsight.checkpoints.loading import bundled_folder

HARD = 24
"""Scenes: enough objects are made up in them to calibrate."""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A scene whose description holds a number that the model doubts, and nothing else."""
    path = tmp_path / "scene.png"
    list(sticker_images("conflict").values())[4]().save(path)
    return path


def test_doubtful_words_are_named_and_the_answer_stays(run, scene: Path) -> None:
    doubted = run("describe", scene, "--doubts")
    assert doubted.code == 0
    assert doubted.out == run("describe", scene).out
    record = json.loads(run("describe", scene, "--doubts", "--json").out)
    assert record["text"] == doubted.out.rstrip("\n")
    assert {one["kind"] for one in record["doubts"]} >= {"object", "count"}
    for one in record["doubts"]:
        assert record["text"][one["start"] : one["end"]] == one["text"]
    doubtful = [one for one in record["doubts"] if one["probability"] > 0.3]
    assert doubtful
    lines = [line for line in doubted.err.splitlines() if "made up" in line]
    assert len(lines) == len(doubtful)
    for line, one in zip(lines, doubtful, strict=True):
        assert line.startswith(f"  {one['text']} ({one['kind']} of {one['object']}): ")
        assert f"{one['probability']:.0%} likely made up" in line


def test_on_a_terminal_they_are_underlined(
    run, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[4mthree\x1b[0m" in run("describe", scene, "--doubts").out


def test_with_a_method_its_own_answer_is_doubted(run, scene: Path) -> None:
    ask = ("describe", scene, "--method", "ritual", "--json")
    alone, doubted = (json.loads(run(*ask, *more).out) for more in ((), ("--doubts",)))
    assert doubted["ids"] == alone["ids"]
    assert doubted["provenance"]["method"]["spec"].startswith("check:repair=none+ritual")
    assert "doubts" not in alone
    repaired = json.loads(run("describe", scene, "--method", "check", "--doubts", "--json").out)
    assert repaired["repairs"]
    assert all(one["probability"] <= 0.3 for one in repaired["doubts"])


def test_lists_have_the_doubts(run, scene: Path, tmp_path: Path) -> None:
    out, listed = tmp_path / "answers.jsonl", tmp_path / "list.jsonl"
    listed.write_text(json.dumps({"image": str(scene)}) + "\n", encoding="utf-8")
    assert run("describe", "--list", listed, "--out", out, "--doubts").code == 0
    [record] = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    alone = json.loads(run("describe", scene, "--doubts", "--json").out)
    assert [one["text"] for one in record["doubts"]] == [one["text"] for one in alone["doubts"]]
    table = run("describe", scene, "--doubts", "--csv").out
    assert next(csv.DictReader(io.StringIO(table)))["text"] == alone["text"]


def test_without_a_calibration_the_models_no_is_reported_as_such(
    run, scene: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(bundled_folder(), model, ignore=shutil.ignore_patterns("doubts.json"))
    record = json.loads(run("describe", scene, "-m", model, "--doubts", "--json").out)
    for one in record["doubts"]:
        assert not one["calibrated"]
        assert one["probability"] == one["refusal"]
    assert "not calibrated" in run("describe", scene, "-m", model, "--doubts").err or all(
        one["probability"] <= 0.3 for one in record["doubts"]
    )


def hard_set(folder: Path) -> tuple[Path, Path]:
    """The first hard scenes, as COCO has it."""
    images, document = folder / "images", sticker_instances("hard")
    images.mkdir()
    document["images"] = document["images"][:HARD]
    drawn = sticker_images("hard")
    for one in document["images"]:
        image: Image.Image = drawn[one["file_name"]]()
        image.save(images / one["file_name"])
    path = folder / "instances.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path, images


def test_what_is_calibrated_is_the_likeliest_logistic_function(run, tmp_path: Path) -> None:
    instances, images = hard_set(tmp_path)
    out = tmp_path / "doubts.json"
    asked = ("calibrate", "--instances", instances, "--images", images, "--out", out)
    result = run(*asked, "--batch-size", 4)
    assert result.code == 0, result.err
    assert f"fitted on {HARD} images" in result.err
    fitted = json.loads(out.read_text(encoding="utf-8"))["object"]

    document = json.loads(instances.read_text(encoding="utf-8"))
    names = {one["id"]: one["name"] for one in document["categories"]}
    there: dict[int, set[str]] = {one["id"]: set() for one in document["images"]}
    for one in document["annotations"]:
        if one["image_id"] in there:
            there[one["image_id"]].add(names[one["category_id"]])
    model = secondsight.load()
    rows, made_up = [], []
    for one in document["images"]:
        answer = model.answer(
            images / one["file_name"], "Please describe this image in detail.", doubts=True
        )
        for doubt in answer.doubts or ():
            if doubt.kind == "object":
                rows.append((1.0, math.log(doubt.refusal / (1 - doubt.refusal)),
                             math.log(doubt.token)))  # fmt: skip
                made_up.append(doubt.object not in there[one["id"]])
    assert f"object │ {len(rows)}" in " ".join(result.out.split()).replace("│ object", "object")
    given, truth = np.array(rows), np.array(made_up, dtype=float)

    def gradient(weights: np.ndarray) -> np.ndarray:
        likely = 1 / (1 + np.exp(-given @ weights))
        return given.T @ (likely - truth) + np.array([0.0, *(1e-2 * weights[1:])])

    weights = np.array([fitted["bias"], fitted["refusal"], fitted["token"]])
    at_fit, elsewhere = gradient(weights), gradient(weights * 1.1)
    assert np.abs(at_fit).max() < 0.02
    assert np.abs(elsewhere).max() > 10 * np.abs(at_fit).max()

    [used] = [
        json.loads(
            run("describe", images / document["images"][0]["file_name"], "--doubts", "--json",
                "--calibrations", out).out
        )
    ]  # fmt: skip
    assert used["provenance"]["checking"]["calibrations"]["object"] == fitted


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--instances", "gone.json"), "--images"),
        (("--images", "images"), "--instances"),
        (("-m", "somewhere"), "--instances"),
        (("--limit", 0), "--limit"),
        (("--limit", 1), "Give more images"),
        (("--out", "."), "is a folder"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    run, asked, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("calibrate", *asked)
    assert result.code == 2
    assert said in result.err
    assert not list(tmp_path.rglob("doubts.json"))


def test_a_broken_calibration_is_refused(run, scene: Path, tmp_path: Path) -> None:
    path = tmp_path / "doubts.json"
    path.write_text('{"object": 3}', encoding="utf-8")
    result = run("describe", scene, "--doubts", "--calibrations", path)
    assert result.code == 2
    assert "doubts.json" in result.err
