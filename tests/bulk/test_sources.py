"""What rows come of a folder, a pattern, tables and archives; what is refused."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from secondsight import ImageError, UserError
from secondsight.bulk.reading import image_of
from secondsight.bulk.rows import Row
from secondsight.bulk.sources import Source

QUESTION = "What is it?"


def rows(path: Path | str, **options: Any) -> list[Row]:
    return list(Source(str(path), QUESTION, **options).rows())


def png(colour: int) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (8, 6), (colour, 0, 0)).save(held, "PNG")
    return held.getvalue()


def test_a_folder_with_the_folders_in_it(images: Path) -> None:
    found = rows(images)
    assert [row.id for row in found] == sorted(row.id for row in found)
    assert len(found) == 23
    assert found[0] == Row("inner/p00.png", str(images / "inner" / "p00.png"), QUESTION)


def test_a_pattern(images: Path) -> None:
    assert [row.id for row in rows(images / "p0*.png")] == [
        f"p{n:02d}.png" for n in (1, 2, 4, 5, 7, 8)
    ]
    with pytest.raises(UserError, match="No file matches"):
        rows(images / "*.gif")


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    lines = [
        {"image": "a.png"},
        {"image": "sub/b.png", "question": "Why?", "id": 7, "other": [1]},
        {"image": "https://example.org/c.png", "question": ""},
        {"image": None, "question": "Who are you?", "id": "none"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    assert rows(path) == [
        Row("a.png", str(tmp_path / "a.png"), QUESTION),
        Row("7", str(tmp_path / "sub/b.png"), "Why?"),
        Row("https://example.org/c.png", "https://example.org/c.png", QUESTION),
        Row("none", None, "Who are you?"),
    ]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_tables(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list.{suffix}"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter="," if suffix == "csv" else "\t")
        writer.writerows([["url", "ask"], ["a.png", "Say, what?"], ["b.png", ""]])
    found = rows(path, image_column="url", question_column="ask")
    assert [(row.id, row.question) for row in found] == [
        ("a.png", "Say, what?"),
        ("b.png", QUESTION),
    ]


def test_parquet_with_paths_and_with_images_in_it(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "paths.parquet"
    pq.write_table(pa.table({"image": ["a.png", "b.png"], "question": ["Why?", None]}), path)
    assert [(row.id, row.question) for row in rows(path)] == [
        ("a.png", "Why?"),
        ("b.png", QUESTION),
    ]
    held = tmp_path / "held.parquet"
    images = [{"bytes": png(10 * n), "path": None} for n in range(7)]
    pq.write_table(pa.table({"image": images}), held, row_group_size=3)
    found = rows(held)
    assert [row.id for row in found] == [str(n) for n in range(7)]
    colours = [opened.getpixel((0, 0))[0] for row in found if (opened := image_of(row))]
    assert colours == [10 * n for n in range(7)]
    (tmp_path / "not.parquet").write_bytes(b"not")
    with pytest.raises(UserError, match="no parquet file"):
        rows(tmp_path / "not.parquet")


def test_webdataset(tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(tmp_path / f"s-{shard}.tar", "w") as archive:
            for number in range(2):
                members = {"png": png(50 * number), "json": b"{}", "question": b"Why?"}
                for suffix, data in members.items():
                    if suffix == "question" and number:
                        continue
                    info = tarfile.TarInfo(f"in/{number:03d}.{suffix}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    found = rows(tmp_path / "s-*.tar")
    assert [(row.id, row.question) for row in found] == [
        ("s-0.tar/in/000", "Why?"),
        ("s-0.tar/in/001", QUESTION),
        ("s-1.tar/in/000", "Why?"),
        ("s-1.tar/in/001", QUESTION),
    ]
    opened = image_of(found[3])
    assert opened is not None
    assert opened.getpixel((0, 0)) == (50, 0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Line 1 of .* is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"picture": "a.png"}', "has no column 'image'.*Known: picture"),
        ('{"image": 3}', "an image that is no text but 3"),
        ('{"image": "a.png", "question": 3}', "a question that is no text"),
        ('{"image": "a.png", "id": [1]}', "an id that is neither"),
        ('{"image": null}', "neither an image nor an id"),
        ('{"image": "a.png"}\n{"image": "a.png"}', "Row 2 has the id 'a.png', which an earlier"),
        ("", "holds no images"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        rows(path)


def test_what_is_no_source(tmp_path: Path, images: Path) -> None:
    with pytest.raises(UserError, match="There is no file or folder"):
        rows(tmp_path / "nothing")
    with pytest.raises(UserError, match="is no folder, pattern or table"):
        rows(images / "p01.png")
    with pytest.raises(UserError, match="cannot be opened"):
        rows("nosuch://bucket/folder")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "http://169.254.169.254/latest"])
def test_addresses_within_are_not_fetched(url: str) -> None:
    with pytest.raises(ImageError, match="public"):
        image_of(Row("1", url, QUESTION))
