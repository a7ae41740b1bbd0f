"""``secondsight trace`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from secondsight.cli.main import app


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.new("RGB", (60, 40), (200, 30, 30)).save(path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


def test_report_in_a_new_folder(image: Path, tiny_llava: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    keep = tmp_path / "kept" / "tensors.safetensors"
    result = run(
        image, "-m", tiny_llava, "--out", out, "--max-new-tokens", 3, "--method", "ritual",
        "--layers", "1", "--rollout", "--keep", keep,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = out.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert keep.stat().st_size > 0
    assert "<h2" in text


def test_format_by_ending_and_by_option(image: Path, tiny_llava: Path, tmp_path: Path) -> None:
    common = (image, "-m", tiny_llava, "--max-new-tokens", 2, "--no-attentions", "--out")
    assert run(*common, tmp_path / "a.md").exit_code == 0
    assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("# secondsight trace")
    assert run(*common, tmp_path / "a.txt", "--format", "json").exit_code == 0
    record = json.loads((tmp_path / "a.txt").read_text(encoding="utf-8"))
    assert len(record["tokens"]) == 2
    assert record["attention"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--method", "rituel"), "Did you mean 'ritual'?"),
        (("--layers", "9"), "no layer 9"),
        (("-q", " "), "empty"),
        (("--max-new-tokens", "0"), "max_new_tokens"),
        (("--out", "."), "is a folder"),
        (("--out", "report.pdf"), "a report is .html, .md or .json"),
        (("--keep", "."), "is a folder"),
        (("--keep", "same", "--out", "same"), "Name two files"),
        (("--no-image",), "not both"),
    ],
)
def test_mistakes_are_one_line(
    image: Path, tiny_llava: Path, tmp_path: Path, change: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    result = run(image, "-m", tiny_llava, "--out", out, *change)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert out.read_text() == "old"


def test_notes_are_said(image: Path, tiny_llava: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("secondsight.trace.modules._NORM", ("nowhere",))
    result = run(image, "-m", tiny_llava, "--out", tmp_path / "a.md", "--max-new-tokens", 2)
    assert result.exit_code == 0, result.output
    assert "note: No logit lens" in " ".join(result.stderr.split())
    assert "No logit lens" in (tmp_path / "a.md").read_text(encoding="utf-8")


def test_missing_image(tiny_llava: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "none.png", "-m", tiny_llava, "--out", tmp_path / "report.html")
    assert result.exit_code == 2
    assert "no image file" in " ".join(result.output.split())


def test_several_images_and_none(image: Path, tiny_llava: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    common = ("-m", tiny_llava, "--max-new-tokens", 2, "--no-attentions", "--out", out)
    assert run(image, image, *common).exit_code == 0
    inference = json.loads(out.read_text(encoding="utf-8"))["inference"]
    assert inference["prompt"].count("<image>\n") == 2
    assert inference["pixels"]["shape"][0] == len(inference["splicing"]["slots"]) == 2
    assert run("--no-image", *common).exit_code == 0
    inference = json.loads(out.read_text(encoding="utf-8"))["inference"]
    assert inference["pixels"] is None
    assert "<image>" not in inference["prompt"]
