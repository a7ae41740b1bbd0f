"""The export on disk: COCO, POPE and MME in the formats that evaluation code reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from secondsight.benchmarks.mme import read_benchmark
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.stickers import export_split, make_scene, render
from secondsight.cli.stickers import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_split(tmp_path_factory.mktemp("export"), "test", count=12)


def test_images_are_the_scenes(folder: Path) -> None:
    instances = json.loads((folder / "instances.json").read_text())
    assert len(instances["images"]) == 12
    for index, image in enumerate(instances["images"]):
        with Image.open(folder / "images" / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])
            expected = render(make_scene("test", index)).image
            assert np.array_equal(np.asarray(opened), np.asarray(expected))


def test_annotations_are_coco(folder: Path) -> None:
    document = json.loads((folder / "instances.json").read_text())
    images = {i["id"]: i for i in document["images"]}
    categories = {c["id"] for c in document["categories"]}
    assert len({a["id"] for a in document["annotations"]}) == len(document["annotations"])
    for a in document["annotations"]:
        x, y, w, h = a["bbox"]
        assert a["category_id"] in categories
        assert 0 < a["area"] <= w * h
        assert x + w <= images[a["image_id"]]["width"]
        assert y + h <= images[a["image_id"]]["height"]
    captions = json.loads((folder / "captions.json").read_text())
    assert len(captions["annotations"]) == 5 * 12


def test_pope_and_mme_can_be_read(folder: Path) -> None:
    for strategy in ("random", "popular", "adversarial"):
        lines = [
            json.loads(line)
            for line in (folder / "pope" / f"{strategy}.jsonl").read_text().splitlines()
        ]
        assert set(lines[0]) == {"question_id", "image", "text", "label"}
        assert all((folder / "images" / line["image"]).exists() for line in lines)
    items = read_benchmark(folder / "mme", Problems(lenient=False))
    assert {item.truth["task"] for item in items} == {"existence", "count", "position", "color"}
    assert sum(item.truth["label"] == "yes" for item in items) == len(items) / 2


def test_nothing_is_overwritten_or_left_half_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileExistsError):
        export_split(folder.parent, "test", count=1)
    monkeypatch.setattr(
        "secondsight.benchmarks.stickers.export.captions_document", lambda *_: 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        export_split(tmp_path, "val", count=1)
    assert list(tmp_path.iterdir()) == []


def test_the_verb(tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(
        app, ["export", str(tmp_path), "--split", "hard", "--count", "2", "--format", "jpg"]
    )
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "hard" / "images").glob("*.jpg"))) == 2
    for arguments in (["--split", "none"], ["--count", "501"], ["--format", "gif"]):
        assert runner.invoke(app, ["export", str(tmp_path / "x"), *arguments]).exit_code == 2
    again = runner.invoke(app, ["export", str(tmp_path), "--split", "hard", "--count", "2"])
    assert again.exit_code == 2
    assert "exists already" in again.output
