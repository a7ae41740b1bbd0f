"""NaturalBench: two questions about two images with opposite answers (arXiv 2410.14669).

A question counts (Q-acc) if it is answered right for both images, an image (I-acc) if both
questions about it are, a group (G-acc) if all four answers are right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from secondsight.benchmarks.base import Benchmark
from secondsight.benchmarks.counts import Array, Counts, from_rows, ratio
from secondsight.benchmarks.datasets import listed_image, read_dataset
from secondsight.benchmarks.options import option
from secondsight.benchmarks.records import Problems, Record, id_field, text_field
from secondsight.benchmarks.registry import register
from secondsight.benchmarks.task import Item, Metric, Response, Scorer, Task
from secondsight.benchmarks.yesno import UNPARSED
from secondsight.errors import DataError
from secondsight.files import PathLike

_PLACES: Final = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Question and image of a group's four answers, in the official order."""

_KINDS: Final[Mapping[str, tuple[tuple[str, str], str]]] = {
    "yes_no": (("yes", "no"), "Please answer Yes or No."),
    "multiple_choice": (
        ("a", "b"),
        "Please output the letter corresponding to the correct option.",
    ),
}
"""By the type of question: its two answers, and the suffix, which follows without a blank."""

_COLUMNS = (
    "n", "correct", "unparsed", "questions", "questions_right", "images", "images_right",
    "groups", "groups_right",
)  # fmt: skip


def first_of(text: str, words: Sequence[str]) -> str:
    """The one of several words that stands first in a text, in any case, or ``"unparsed"``."""
    found = re.search(rf"\b(?:{'|'.join(words)})\b", text, re.IGNORECASE)
    return found.group().lower() if found else UNPARSED


class NaturalBenchScorer(Scorer):
    """Judges groups of four answers; an item's truth has ``group``, ``kind`` and ``label``."""

    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """Counts per answer; what needs several answers stands beside the group's last one.

        A group of which an answer is lacking counts in the accuracy alone.
        """
        rows: list[dict[str, float]] = []
        groups: dict[str, dict[tuple[int, int], bool]] = {}
        for item, response in zip(items, responses, strict=True):
            said = first_of(response.text, _KINDS[item.truth["kind"]][0])
            right = said == item.truth["label"]
            row = dict.fromkeys(_COLUMNS, 0.0)
            row |= {"n": 1, "correct": right, "unparsed": said == UNPARSED}
            group = groups.setdefault(item.truth["group"], {})
            group[item.truth["question"], item.truth["image"]] = right
            if len(group) == len(_PLACES):
                row |= _judged(group)
            rows.append(row)
        cut = sum(len(group) < len(_PLACES) for group in groups.values())
        notes = (f"{cut} groups lack an answer and are in the accuracy alone",) if cut else ()
        return Counts(from_rows(rows, _COLUMNS), warnings=notes)

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """The four accuracies; fractions."""
        return {
            "accuracy": ratio(sums["correct"], sums["n"]),
            "q_acc": ratio(sums["questions_right"], sums["questions"]),
            "i_acc": ratio(sums["images_right"], sums["images"]),
            "g_acc": ratio(sums["groups_right"], sums["groups"]),
            "unparsed": ratio(sums["unparsed"], sums["n"]),
        }


def _judged(right: Mapping[tuple[int, int], bool]) -> dict[str, float]:
    return {
        "questions": 2,
        "questions_right": sum(right[q, 0] and right[q, 1] for q in (0, 1)),
        "images": 2,
        "images_right": sum(right[0, i] and right[1, i] for i in (0, 1)),
        "groups": 1,
        "groups_right": all(right.values()),
    }


@register("naturalbench")
@dataclass(frozen=True)
class NaturalBench(Benchmark):
    """Two questions about two images, which have opposite answers."""

    title: ClassVar[str] = "NaturalBench"

    questions: PathLike | None = option(
        None, "the official parquet file or folder, or the same columns as JSON", kind=Path
    )
    images: PathLike | None = option(None, "folder of the images, where they are files", kind=Path)

    def load(self, problems: Problems) -> Task:
        """Four items per record, which the bootstrap draws together."""
        path = self.need("questions")
        items: dict[str, Item] = {}
        for record in read_dataset(path, problems, ("Image_0", "Image_1")):
            for item in _items(record, self.images, problems):
                if item.id in items:
                    problems.add("duplicate Index", f"{record.where}: {item.id} stands there twice")
                    break
                items[item.id] = item
        if not items:
            problems.settle()
            raise DataError(f"{path}: holds no usable group of questions")
        return Task(
            dataset=Path(path).name,
            items=tuple(items.values()),
            scorer=NaturalBenchScorer(),
            metrics=(
                Metric("g_acc", "G-acc", shown=True, panel=True),
                Metric("accuracy", shown=True, panel=True),
                Metric("q_acc", "Q-acc", shown=True),
                Metric("i_acc", "I-acc", shown=True),
                Metric("unparsed", better="less"),
            ),
            max_new_tokens=16,
        )


def _items(record: Record, images: PathLike | None, problems: Problems) -> list[Item]:
    index = id_field(record, ("Index", "index", "id"), problems)
    kind = text_field(record, ("Question_Type",), problems)
    if index is None or kind is None:
        return []
    if kind not in _KINDS:
        problems.add(
            "unknown Question_Type",
            f"{record.where}: Question_Type {kind!r} is none of {', '.join(_KINDS)}",
        )
        return []
    words, suffix = _KINDS[kind]
    shown = [listed_image(record, f"Image_{i}", images, f"{index}/Image_{i}") for i in (0, 1)]
    found: list[Item] = []
    for question, image in _PLACES:
        text = text_field(record, (f"Question_{question}",), problems)
        name = f"Image_{image}_Question_{question}"
        label = text_field(record, (name,), problems)
        if text is None or label is None:
            return []
        if label.strip().lower() not in words:
            problems.add(
                "label of another kind",
                f"{record.where}: {name} is {label!r}, neither {words[0]} nor {words[1]}",
            )
            return []
        truth = {
            "group": index,
            "question": question,
            "image": image,
            "kind": kind,
            "label": label.strip().lower(),
        }
        image_id, opened = shown[image]
        found.append(
            Item(
                f"{index}/q{question}_i{image}",
                image_id,
                opened,
                text + suffix,
                truth,
                group=index,
                together=index,
            )
        )
    return found
