"""HumbleBench: five options, of which the last says that none is right.

An answer is right if the label's letter is among its words and no other option's is. How often
"none of the above" is recognised is counted apart, as is what names no single letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from PIL import Image

from secondsight.benchmarks.base import Benchmark
from secondsight.benchmarks.counts import Array, Counts, from_rows, ratio
from secondsight.benchmarks.datasets import listed_image, read_dataset
from secondsight.benchmarks.options import option
from secondsight.benchmarks.records import Problems, Record, id_field, text_field
from secondsight.benchmarks.registry import register
from secondsight.benchmarks.task import Item, ItemImage, Metric, Response, Scorer, Task
from secondsight.errors import DataError
from secondsight.files import PathLike

_LETTERS: Final = ("A", "B", "C", "D", "E")
_NONE: Final = "E"
_LINE = re.compile(r"\s*([A-E])\.")
_ASKED: Final = (
    "\nPlease respond with only the letter of the correct choice (A, B, C, D, or E). "
    "Do not include the option text or any other explanation."
)
"""The official instruction for models that do not reason aloud: figures depend on it."""
_COUNTS = ("n", "correct")
_COLUMNS = (*_COUNTS, "none", "none_right", "none_bare", *_LETTERS, "unparsed")


def chosen(text: str) -> frozenset[str]:
    """The options whose letters are words of a text, in any case."""
    words = set(re.findall(r"\b\w+\b", text.upper()))
    return frozenset(_LETTERS) & words


@dataclass(frozen=True)
class HumbleScorer(Scorer):
    """Judges chosen letters; an item's truth has ``label`` and ``type``.

    Attributes:
        types: The types of questions.
    """

    types: tuple[str, ...] = ()

    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """Counts per answer."""
        names = [*_COLUMNS, *(f"{kind}/{name}" for kind in self.types for name in _COUNTS)]
        rows: list[dict[str, float]] = []
        for item, response in zip(items, responses, strict=True):
            label, letters = item.truth["label"], chosen(response.text)
            right = letters == {label}
            row = dict.fromkeys(names, 0.0)
            row |= {"n": 1, "correct": right, "unparsed": len(letters) != 1}
            row |= {letter: letters == {letter} for letter in _LETTERS}
            row |= {f"{item.truth['type']}/n": 1, f"{item.truth['type']}/correct": right}
            if label == _NONE:
                row |= {"none": 1, "none_right": right, "none_bare": response.text == _NONE}
            rows.append(row)
        return Counts(from_rows(rows, names))

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Accuracies, and how often each letter was chosen; fractions."""
        return {
            "accuracy": ratio(sums["correct"], sums["n"]),
            "none_accuracy": ratio(sums["none_right"], sums["none"]),
            "none_bare": ratio(sums["none_bare"], sums["none"]),
            "unparsed": ratio(sums["unparsed"], sums["n"]),
            **{
                f"{kind}.accuracy": ratio(sums[f"{kind}/correct"], sums[f"{kind}/n"])
                for kind in self.types
            },
            **{f"chosen.{letter}": ratio(sums[letter], sums["n"]) for letter in _LETTERS},
        }


@register("humblebench")
@dataclass(frozen=True)
class HumbleBench(Benchmark):
    """Multiple choice in which no option may be right."""

    title: ClassVar[str] = "HumbleBench"

    questions: PathLike | None = option(
        None, "the official parquet file or folder, or the same columns as JSON", kind=Path
    )
    images: PathLike | None = option(None, "folder of the images, where they are files", kind=Path)
    variant: str = option(
        "common",
        "none-only: the right option is taken out, so that none is; noise: noise instead of images",
        choices=("common", "none-only", "noise"),
    )
    suffix: str = option(_ASKED, "what follows each question")

    def load(self, problems: Problems) -> Task:
        """One item per question."""
        path = self.need("questions")
        items: dict[str, Item] = {}
        for record in read_dataset(path, problems, ("image",)):
            item = self._item(record, problems)
            if item is not None and item.id in items:
                problems.add(
                    "duplicate question_id",
                    f"{record.where}: question_id {item.id} stands there twice",
                )
            elif item is not None:
                items[item.id] = item
        if not items:
            problems.settle()
            raise DataError(f"{path}: holds no usable question")
        types = tuple(dict.fromkeys(item.truth["type"] for item in items.values()))
        return Task(
            dataset=Path(path).name,
            items=tuple(items.values()),
            scorer=HumbleScorer(types),
            metrics=(
                Metric("accuracy", shown=True, panel=True),
                Metric("none_accuracy", "none of the above", shown=True, panel=True),
                Metric("unparsed", better="less", shown=True),
                *(Metric(f"{kind}.accuracy", kind, shown=True) for kind in types),
                Metric("none_bare"),
                *(Metric(f"chosen.{letter}", better=None) for letter in _LETTERS),
            ),
            max_new_tokens=32,
            scoring={"variant": self.variant},
        )

    def _item(self, record: Record, problems: Problems) -> Item | None:
        identifier = id_field(record, ("question_id",), problems)
        question = text_field(record, ("question",), problems)
        label = text_field(record, ("label",), problems)
        kind = text_field(record, ("type",), problems)
        if identifier is None or question is None or label is None or kind is None:
            return None
        if label not in _LETTERS:
            problems.add(
                "label of another kind", f"{record.where}: label {label!r} is none of A to E"
            )
            return None
        name, image = listed_image(record, "image", self.images, identifier)
        shown: ItemImage = _noise if self.variant == "noise" else image
        if self.variant == "none-only" and label != _NONE:
            lines = question.split("\n")
            kept = [line for line in lines if not _is_option(line, label)]
            if len(kept) != len(lines) - 1:
                problems.add(
                    "question without its options",
                    f"{record.where}: no single line {label}. among the question's",
                )
                return None
            question, label = "\n".join(kept), _NONE
        return Item(identifier, name, shown, question + self.suffix, {"label": label, "type": kind})


def _is_option(line: str, letter: str) -> bool:
    found = _LINE.match(line)
    return found is not None and found.group(1) == letter


def _noise() -> Image.Image:
    """The same grey noise for every question and run, 256 pixels square."""
    levels = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
    return Image.fromarray(levels).convert("RGB")
