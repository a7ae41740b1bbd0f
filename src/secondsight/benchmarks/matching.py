"""Finding the item that a record of answers is about, whoever wrote the record.

A record names its item by an id, by the image, or by its place in the file. Where it repeats the
question that was asked, that is compared with the item's own, so that answers to one file of
questions are not scored as answers to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from secondsight.benchmarks.records import Record, as_id
from secondsight.benchmarks.task import Item, Task
from secondsight.errors import DataError

IDS: Final = ("question_id", "id", "image_id")
IMAGES: Final = ("image", "image_path", "image_source", "image_file", "file_name", "image_id")
ASKED: Final = ("prompt", "question", "query", "input")
_PLACES: Final = ("doc_id", "index")
_NUMBERED: Final = 10_000_000
"""LLaVA's file of POPE's three kinds of questions counts the second from here, and so on."""


@dataclass
class Matched:
    """Records and their items.

    Attributes:
        pairs: Each record with its item.
        wrong: What is wrong with the others, by kind.
        note: What a reader of the score should know.
    """

    pairs: list[tuple[Record, Item]] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    note: str | None = None

    def add(self, kind: str, message: str) -> None:
        """Notes what is wrong with a record."""
        self.wrong.append((kind, message))


def plain(text: str) -> str:
    """A question without what differs between files: case, blanks, the image's place."""
    return " ".join(text.replace("<image>", " ").split()).casefold()


def values(record: Record, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The fields of a record that are given, those of the dataset's own document included."""
    document = record.data.get("doc")
    for name in names:
        for source in (record.data, document if isinstance(document, dict) else {}):
            if source.get(name) is not None:
                yield name, source[name]
                break


def asked(record: Record, also: Sequence[str] = ()) -> str | None:
    """The question that a record says was asked."""
    return next((v for _, v in values(record, (*ASKED, *also)) if isinstance(v, str)), None)


def match(
    records: Sequence[Record], task: Task, where: str, question_fields: Mapping[str, str]
) -> Matched:
    """Finds each record's item.

    A file that holds answers to several files of questions (LLaVA's numbering, a column
    ``category``) is read by the one part that answers the task's items and no others.

    Args:
        records: The records of one run.
        task: The task.
        where: The file, for messages.
        question_fields: By record (`Record.where`), a further field that holds the question.

    Raises:
        DataError: Several parts of the file could be meant.
    """
    finder = _Finder(task, where, question_fields)
    whole = finder.find(records)
    if not whole.wrong:
        return whole
    for kind, parts in _parts(records):
        found = {name: finder.find(part, kind == "number") for name, part in parts.items()}
        fitting = {name: matched for name, matched in found.items() if not matched.wrong}
        if len(fitting) > 1:
            raise DataError(
                f"{where}: holds answers to {len(parts)} files of questions, and nothing says "
                f"which of them answer {task.dataset}; keep those that do"
            )
        if fitting:
            [(name, matched)] = fitting.items()
            others = len(records) - len(parts[name])
            matched.note = (
                f"{where}: {others} of {len(records)} answers are to other files of questions "
                f"({kind} {name} is the one that answers {task.dataset})"
            )
            return matched
    return whole


def _parts(records: Sequence[Record]) -> Iterator[tuple[str, dict[str, list[Record]]]]:
    """Ways in which a file can hold answers to several files of questions."""
    numbers = [next((as_id(value) for _, value in values(one, IDS)), None) for one in records]
    if all(number is not None and number.isdecimal() and len(number) < 20 for number in numbers):
        bases = [str(int(number or 0) // _NUMBERED) for number in numbers]
        if len(set(bases)) > 1:
            yield "number", _grouped(records, bases)
    kinds = [next((v for _, v in values(one, ("category",))), None) for one in records]
    if all(isinstance(kind, str) for kind in kinds) and len(set(kinds)) > 1:
        yield "category", _grouped(records, [str(kind) for kind in kinds])


def _grouped(records: Sequence[Record], names: Sequence[str]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record, name in zip(records, names, strict=True):
        found.setdefault(name, []).append(record)
    return found


class _Finder:
    """Items by id and by image."""

    def __init__(self, task: Task, where: str, question_fields: Mapping[str, str]) -> None:
        self._task, self._where, self._question_fields = task, where, question_fields
        self._by_id = {item.id: item for item in task.items}
        self._by_image: dict[str, list[Item]] = {}
        for item in task.items:
            names = {item.image_id, *item.aliases}
            if isinstance(item.image, Path):
                names.add(item.image.name)
            for name in names | {_stem(name) for name in names}:
                self._by_image.setdefault(name, []).append(item)

    def find(self, records: Sequence[Record], numbered: bool = False) -> Matched:
        """The items of the records, and what is wrong."""
        matched = Matched()
        seen: dict[str, str] = {}
        for record in records:
            self._one(record, numbered, matched, seen)
        if not matched.pairs and all(self._asked(record) is not None for record in records):
            ordered = self._in_order(records)
            if not ordered.wrong or not any(any(values(one, (*IDS, *IMAGES))) for one in records):
                matched = ordered
        self._gaps(matched)
        return matched

    def _gaps(self, matched: Matched) -> None:
        """Adds what is not answered, though others of its group are."""
        ours = bool(matched.pairs) and all("item" in record.data for record, _ in matched.pairs)
        answered = {item.id for _, item in matched.pairs}
        if ours:  # a run of ours may be about the first images alone, or not be finished
            images = {item.image_id for _, item in matched.pairs}
            expected = [item for item in self._task.items if item.image_id in images]
            every = {item.image_id for item in self._task.items}
            if len(images) < len(every):
                matched.note = f"{self._where}: answers to {len(images)} of {len(every)} images"
        else:
            groups = {item.group for _, item in matched.pairs}
            expected = [item for item in self._task.items if item.group in groups]
        for item in expected:
            if item.id not in answered:
                matched.add("question without answer", f"{self._where}: no answer to {item.id}")

    def _one(self, record: Record, numbered: bool, matched: Matched, seen: dict[str, str]) -> None:
        named, candidates = self._candidates(record, numbered)
        if named is None:
            fields = " or ".join(map(repr, IDS))
            matched.add("missing field", f"{record.where}: no field {fields}, and no image")
            return
        field, place = named[0], f"{record.where}: {named[0]} {named[1]!s:.80}"
        question = self._asked(record)
        fitting = [item for item in candidates if self._fits(item, question)]
        if not candidates:
            matched.add(f"unknown {field}", f"{place} is not in {self._task.dataset}")
        elif not fitting:
            matched.add(
                "another question", f"{place} {self._asked_otherwise(record, candidates[0])}"
            )
        elif len(fitting) > 1:
            matched.add(
                "ambiguous record", f"{place} fits {len(fitting)} questions; name the question_id"
            )
        elif fitting[0].id in seen:
            before = seen[fitting[0].id]
            matched.add(f"duplicate {field}", f"{place} was answered before ({before})")
        else:
            seen[fitting[0].id] = record.where
            matched.pairs.append((record, fitting[0]))

    def _asked_otherwise(self, record: Record, item: Item) -> str:
        return (
            f"was asked {self._asked(record)!r:.120}, but {self._task.dataset} asks "
            f"{item.question!r:.120}"
        )

    def _candidates(
        self, record: Record, numbered: bool
    ) -> tuple[tuple[str, Any] | None, list[Item]]:
        """How the record names its item, and the items that this may be, the likeliest first."""
        ids = [pair for pair in values(record, IDS) if as_id(pair[1]) is not None]
        images = [pair for pair in values(record, IMAGES) if as_id(pair[1]) is not None]
        named = next(iter(ids or images), None)
        by_id = [item for _, value in ids if (item := self._with_id(value, numbered))]
        question = self._asked(record)
        by_image: list[Item] = []
        # Beside an id that is not ours an image alone does not say which question was asked.
        if question is not None or not self._task.own_questions or not ids:
            files = [value for _, value in ids if set("./") & set(str(value))]
            for value in (*(value for _, value in images), *files):
                by_image += self._with_image(str(value))
        if not self._task.own_questions:  # the image is the item: a number may count the records
            return named, by_image[:1] or by_id[:1]
        fitting = next((item for item in by_id if self._fits(item, question)), None)
        if fitting is not None:
            return named, [fitting]
        return named, list({item.id: item for item in (*by_id, *by_image)}.values())

    def _with_id(self, value: Any, numbered: bool) -> Item | None:
        identifier = as_id(value) or ""
        if numbered and identifier.isdecimal():
            identifier = str(int(identifier) % _NUMBERED)
        return self._by_id.get(identifier)

    def _with_image(self, value: str) -> list[Item]:
        name = PurePosixPath(value.replace("\\", "/")).name
        keys = (value, name, _stem(name))
        return next((self._by_image[key] for key in keys if key in self._by_image), [])

    def _asked(self, record: Record) -> str | None:
        further = self._question_fields.get(record.where)
        return asked(record, () if further is None else (further,))

    def _fits(self, item: Item, question: str | None) -> bool:
        if question is None or not self._task.own_questions:
            return True
        return plain(item.question) in plain(question)

    def _in_order(self, records: Sequence[Record]) -> Matched:
        """Records that say only what was asked: by their places, checked by the question."""
        matched = Matched(note=f"{self._where}: matched by order, and checked by the questions")
        numbers = [next((v for _, v in values(one, _PLACES)), None) for one in records]
        if all(isinstance(n, int) for n in numbers) and len(set(numbers)) == len(numbers):
            by_number = sorted(zip(numbers, records, strict=True), key=lambda pair: pair[0] or 0)
            records = [record for _, record in by_number]
        if len(records) != len(self._task.items):
            matched.add(
                "missing id",
                f"{self._where}: {len(records)} answers without an id to "
                f"{len(self._task.items)} questions: only all of them can be matched by order",
            )
            return matched
        for record, item in zip(records, self._task.items, strict=True):
            if self._fits(item, self._asked(record)):
                matched.pairs.append((record, item))
            else:
                otherwise = self._asked_otherwise(record, item)
                matched.add("another question", f"{record.where}: {otherwise} at this place")
        return matched


def _stem(name: str) -> str:
    return PurePosixPath(name).stem if "." in name else name
