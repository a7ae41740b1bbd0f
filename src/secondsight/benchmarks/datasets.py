"""Datasets as hubs and repositories hold them: parquet with images inside, or text and files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from PIL import Image

from secondsight.benchmarks.base import image_file
from secondsight.benchmarks.records import Problems, Record, read_records
from secondsight.benchmarks.task import ItemImage
from secondsight.errors import DataError
from secondsight.extras import needed
from secondsight.files import PathLike


def read_dataset(path: PathLike, problems: Problems, images: Sequence[str]) -> list[Record]:
    """Reads the records of a dataset.

    Args:
        path: A parquet file, a folder of such files (read in the order of their names), or JSON,
            JSON lines or a table.
        problems: Receives lines that cannot be used.
        images: The columns that hold images. From parquet they come as functions that open the
            image when it is asked for, so that no more than a piece of the file is in memory.

    Raises:
        DataError: The file cannot be used at all.
        MissingPackageError: It is parquet, and pyarrow is not installed.
    """
    root = Path(path)
    files = sorted(root.rglob("*.parquet")) if root.is_dir() else [root]
    if not files:
        raise DataError(f"{root}: holds no parquet file")
    if files[0].suffix.lower() != ".parquet":
        return read_records(path, problems)
    found = [record for file in files for record in _parquet(file, images)]
    if not found:
        raise DataError(f"{root}: holds no record")
    return found


def listed_image(
    record: Record, name: str, folder: PathLike | None, fallback: str = ""
) -> tuple[str, ItemImage]:
    """The name and the image of a record's column.

    Args:
        record: The record.
        name: The column: a file's name, a function that opens the image, or what the hub's JSON
            has instead (``{"path": ...}``).
        folder: The folder of the images, where they are files.
        fallback: The name of an image that has none.

    Raises:
        DataError: The name leaves the folder.
    """
    value = record.data.get(name)
    if callable(value):
        return str(record.data.get(f"{name}.path") or fallback), value
    if isinstance(value, dict):
        value = value.get("path")
    named = value if isinstance(value, str) and value else ""
    if not named and folder is not None:
        raise DataError(f"{record.where}: no field {name!r} with the image's name")
    return named or fallback, image_file(folder, named, record.where)


def _parquet(file: Path, images: Sequence[str]) -> list[Record]:
    with needed("bulk", "Reading parquet"):
        import pyarrow
        import pyarrow.parquet as parquet
    try:
        opened = parquet.ParquetFile(file)
        names = opened.schema_arrow.names
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise DataError(f"{file}: not readable as parquet ({error!s:.200})") from None
    pictured = [name for name in images if name in names]
    plain = [name for name in names if name not in pictured]
    found: list[Record] = []
    read = lru_cache(maxsize=max(1, len(pictured)))(partial(_column, opened))
    for group in range(opened.num_row_groups):
        rows = opened.read_row_group(group, columns=plain).to_pylist()
        size = opened.metadata.row_group(group).num_rows
        for place in range(size):
            row: dict[str, Any] = dict(rows[place]) if rows else {}
            for name in pictured:
                row[name] = partial(_opened, read, group, name, place, str(file))
            found.append(Record(row, f"{file}: record {len(found) + 1}"))
    return found


def _column(opened: Any, group: int, name: str) -> list[Any]:
    values: list[Any] = opened.read_row_group(group, columns=[name]).column(0).to_pylist()
    return values


def _opened(
    read: Callable[[int, str], list[Any]], group: int, name: str, place: int, where: str
) -> Image.Image:
    value = read(group, name)[place]
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise DataError(f"{where}: {name} of row {place} in piece {group} holds no image")
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: {name} of row {place}: unreadable image ({error})") from None
    return image
