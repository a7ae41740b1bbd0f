"""What a run is about: the rows of a folder, pattern, table or archive, here or in a bucket."""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from secondsight.bulk.rows import Row, unique
from secondsight.bulk.storage import Storage, storage_of
from secondsight.errors import UserError, nearest, shown
from secondsight.files import IMAGE_SUFFIXES
from secondsight.sample import check_question

_TABLES: Final = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_LONGEST_LINE: Final = 64 * 2**20
_ROWS_AT_ONCE: Final = 4096


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        name: A folder, a pattern, a table (JSON lines, CSV, TSV, parquet), or tar files as
            webdataset has them; on this machine, or behind a URL such as ``s3://bucket/folder``.
        question: What is asked where a row has no question.
        image_column: The column of a table that holds images.
        question_column: The one that holds questions; where it is not there, `question` is asked.
        id_column: The one that holds ids; where it is not there, the image is the id.
    """

    name: str
    question: str
    image_column: str = "image"
    question_column: str = "question"
    id_column: str = "id"

    def rows(self) -> Iterator[Row]:
        """The rows, in an order that is the same each time.

        Raises:
            UserError: There are none, one of them is not of the right form, or two have one id.
            MissingPackageError: What reads the source is not installed.
        """
        check_question(self.question)
        any_row = False
        for row in unique(self._rows()):
            any_row = True
            yield row
        if not any_row:
            raise UserError(f"{self.name!r} holds no images.")

    def _rows(self) -> Iterator[Row]:
        storage, path = storage_of(self.name)
        if storage.is_folder(path):
            yield from self._of_files(storage, path, storage.files(path))
        elif any(mark in path for mark in "*?["):
            names = sorted(storage.matching(path))
            if not names:
                raise UserError(f"No file matches {self.name!r}.")
            if all(name.endswith(".tar") for name in names):
                for name in names:
                    yield from self._of_archive(storage, name)
            else:
                yield from self._of_files(storage, _parent(path), names)
        elif not storage.is_file(path):
            raise UserError(f"There is no file or folder {self.name!r}.")
        elif path.endswith(".tar"):
            yield from self._of_archive(storage, path)
        elif path.lower().endswith(_TABLES):
            yield from self._of_table(storage, path)
        else:
            raise UserError(
                f"{self.name!r} is no folder, pattern or table ({', '.join(_TABLES)}, .tar). For "
                "one image there is 'secondsight describe'."
            )

    def _of_files(self, storage: Storage, folder: str, names: Iterable[str]) -> Iterator[Row]:
        root = folder.rstrip("/") + "/" if folder else ""
        for name in sorted(names):
            if fnmatch.fnmatch(posixpath.basename(name), ".*"):
                continue
            if posixpath.splitext(name.lower())[1] in IMAGE_SUFFIXES:
                short = name.removeprefix(root)
                yield Row(short, storage.full(name), self.question)

    def _of_archive(self, storage: Storage, name: str) -> Iterator[Row]:
        """Samples of a webdataset: members of one key, of which one is an image, one may ask."""
        whole = storage.full(name)
        key: str | None = None
        image: str | None = None  # where its bytes are, so that nothing is searched for later
        question: str | None = None

        def finished() -> Iterator[Row]:
            if key is not None and image is not None:
                asked = self.question if question is None else question
                yield Row(f"{posixpath.basename(name)}/{key}", f"{whole}#{image}", asked)

        with storage.open(name) as file, _as_tar(file, whole) as archive:
            for member in archive:
                base = posixpath.basename(member.name)
                if not member.isfile() or base.startswith("."):
                    continue
                stem, _, suffix = base.partition(".")
                own = posixpath.join(posixpath.dirname(member.name), stem)
                if own != key:
                    yield from finished()
                    key, image, question = own, None, None
                if posixpath.splitext(base.lower())[1] in IMAGE_SUFFIXES:
                    image = f"{member.offset_data}+{member.size}"
                elif suffix in (self.question_column, f"{self.question_column}.txt"):
                    held = archive.extractfile(member)
                    question = held.read(10**6).decode() if held is not None else None
            yield from finished()

    def _of_table(self, storage: Storage, path: str) -> Iterator[Row]:
        folder = _parent(path)
        lower = path.lower()
        if lower.endswith(".parquet"):
            yield from self._of_parquet(storage, path, folder)
            return
        with storage.open(path) as file:
            if lower.endswith((".csv", ".tsv")):
                text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
                delimiter = "\t" if lower.endswith(".tsv") else ","
                records: Iterable[Any] = csv.DictReader(text, delimiter=delimiter)
                start = 2
            else:
                records, start = _json_lines(file, self.name), 1
            for number, record in enumerate(records, start=start):
                yield self._row(record, f"Line {number} of {self.name!r}", storage, folder)

    def _of_parquet(self, storage: Storage, path: str, folder: str) -> Iterator[Row]:
        from secondsight.bulk.parquet import batches

        number = 0
        wanted = (self.image_column, self.question_column, self.id_column)
        with storage.open(path) as file:
            for record in batches(file, wanted, _ROWS_AT_ONCE):
                place = f"Row {number} of {self.name!r}"
                if isinstance(record.get(self.image_column), bytes | bytearray | dict):
                    # The image itself stands there: it is read again when its turn comes.
                    reference = f"{storage.full(path)}#{number}"
                    record = {**record, self.image_column: reference}
                    record.setdefault(self.id_column, str(number))
                yield self._row(record, place, storage, folder)
                number += 1

    def _row(self, record: Any, place: str, storage: Storage, folder: str) -> Row:
        if not isinstance(record, Mapping):
            raise UserError(f'{place} is not a JSON object such as {{"image": "cat.jpg"}}.')
        if self.image_column not in record:
            known = nearest(self.image_column, [str(name) for name in record])
            raise UserError(f"{place} has no column {self.image_column!r}.{known}")
        image = record[self.image_column]
        if not (image is None or (isinstance(image, str) and image)):
            raise UserError(f"{place} has an image that is no text but {shown(image, 60)}.")
        asked = record.get(self.question_column)
        if asked is None or asked == "":
            asked = self.question
        if not isinstance(asked, str) or not asked.strip():
            raise UserError(f"{place} has a question that is no text but {shown(asked, 60)}.")
        named = record.get(self.id_column)
        if isinstance(named, bool) or not isinstance(named, str | int | None):
            raise UserError(f"{place} has an id that is neither text nor a whole number.")
        if named in (None, ""):
            named = image
        if named is None:
            raise UserError(f"{place} has neither an image nor an id.")
        if any("\ud800" <= one <= "\udfff" for text in (str(named), asked) for one in text):
            raise UserError(f"{place} holds half a character (such as \\ud800), which is no text.")
        return Row(str(named), _located(image, storage, folder), asked)


def _located(image: str | None, storage: Storage, folder: str) -> str | None:
    """Where an image of a table is; relative to the table's own folder."""
    if image is None or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|data:", image):
        return image
    return storage.full(posixpath.join(folder, image) if folder else image)


def _parent(path: str) -> str:
    fixed = re.split(r"[*?\[]", path, maxsplit=1)[0]
    return posixpath.dirname(fixed)


def _as_tar(file: Any, name: str) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file, mode="r:")
    except tarfile.TarError as error:
        raise UserError(f"{name!r} is no tar file: {error}.") from None


def _json_lines(file: Any, name: str) -> Iterator[Any]:
    number = 0
    while raw := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(raw) > _LONGEST_LINE:
            raise UserError(f"Line {number} of {name!r} is longer than {_LONGEST_LINE >> 20} MB.")
        if not raw.strip():
            continue
        try:
            yield json.loads(raw)
        except (ValueError, RecursionError):
            raise UserError(f"Line {number} of {name!r} is not JSON.") from None
