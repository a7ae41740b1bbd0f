"""DASH-B: is an object there, in images that make models say that it is (arXiv 2503.23573).

Half of the images trick models into seeing the object, half show it. The official script reads a
yes wherever the letters stand, then a no; it reports the accuracy of both sides and their harmonic
mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from secondsight.benchmarks.answer_files import AnswerSet
from secondsight.benchmarks.base import Benchmark, image_file
from secondsight.benchmarks.counts import Array, Counts, from_rows, harmonic, ratio
from secondsight.benchmarks.datasets import listed_image, read_dataset
from secondsight.benchmarks.options import option
from secondsight.benchmarks.records import Problems, id_field, read_records, text_field
from secondsight.benchmarks.registry import register
from secondsight.benchmarks.task import Item, Metric, Response, Scorer, Task
from secondsight.benchmarks.yesno import NO, UNPARSED, YES
from secondsight.errors import DataError
from secondsight.files import PathLike, read_json

_SIDES: Final = {"neg": NO, "pos": YES}
_RESULT: Final = ("img_id", "object_name", "gt")
_COLUMNS = ("n", "correct", "absent", "absent_right", "present", "present_right", "yes", "unparsed")


def letters(text: str) -> str:
    """Yes if its letters stand anywhere, else no if its letters do, else unparsed."""
    lowered = text.lower()
    return YES if YES in lowered else NO if NO in lowered else UNPARSED


class DashScorer(Scorer):
    """Judges yes/no answers on both sides; an item's truth has its ``label``."""

    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """Counts per answer."""
        predictions = tuple(letters(response.text) for response in responses)
        labels = [item.truth["label"] for item in items]
        rows = [
            {
                "n": 1,
                "correct": said == label,
                "absent": label == NO,
                "absent_right": said == label == NO,
                "present": label == YES,
                "present_right": said == label == YES,
                "yes": said == YES,
                "unparsed": said == UNPARSED,
            }
            for said, label in zip(predictions, labels, strict=True)
        ]
        return Counts(from_rows(rows, _COLUMNS), predictions)

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Accuracy, and that of each side; fractions."""
        absent = ratio(sums["absent_right"], sums["absent"])
        present = ratio(sums["present_right"], sums["present"])
        return {
            "accuracy": ratio(sums["correct"], sums["n"]),
            "tnr": absent,
            "tpr": present,
            "harmonic_mean": harmonic(absent, present),
            "yes_ratio": ratio(sums["yes"], sums["n"]),
            "unparsed": ratio(sums["unparsed"], sums["n"]),
        }


@register("dash-b")
@dataclass(frozen=True)
class DashB(Benchmark):
    """Objects that models see in images without them."""

    title: ClassVar[str] = "DASH-B"

    annotations: PathLike | None = option(
        None, "the official folder: dash_benchmark_neg.json and _pos.json, neg/ and pos/", kind=Path
    )
    questions: PathLike | None = option(
        None, "instead of it, the hub's parquet, or the same columns as JSON", kind=Path
    )
    images: PathLike | None = option(
        None, "folder of the images; with --annotations that folder by default", kind=Path
    )

    def load(self, problems: Problems) -> Task:
        """One item per image and object."""
        if self.questions is not None:
            self.refuse_beside("--questions", ("annotations",))
            path = Path(self.questions)
            made = self._listed(path, problems)
        else:
            path = Path(self.need("annotations"))
            made = self._folder(path)
        items: dict[str, Item] = {}
        for item in made:
            if item.id in items:
                problems.add("duplicate question", f"{path}: {item.id} stands there twice")
            items.setdefault(item.id, item)
        if not items:
            problems.settle()
            raise DataError(f"{path}: holds no usable question")
        return Task(
            dataset=path.name,
            items=tuple(items.values()),
            scorer=DashScorer(),
            metrics=(
                Metric("accuracy", shown=True, panel=True),
                Metric("tnr", "right where absent", shown=True, panel=True),
                Metric("tpr", "right where present", shown=True),
                Metric("harmonic_mean", shown=True),
                Metric("yes_ratio", better=None),
                Metric("unparsed", better="less"),
            ),
            max_new_tokens=16,
        )

    def read(self, answers: PathLike, problems: Problems) -> tuple[Task, tuple[AnswerSet, ...]]:
        """Reads the official file of answers, or any other."""
        if Path(answers).is_dir():
            return super().read(answers, problems)
        records = read_records(answers, problems)
        if not set(_RESULT) <= set(records[0].data):
            return super().read(answers, problems)
        task = self.load(problems)
        open_ones: dict[tuple[str, ...], list[str]] = {}
        for item in task.items:
            open_ones.setdefault(_key(item.truth), []).append(item.id)
        found: dict[str, Response] = {}
        for record in records:
            text = text_field(record, ("response",), problems)
            named = tuple(id_field(record, (name,), problems) for name in _RESULT)
            if text is None or None in named:
                continue
            fitting = open_ones.get(tuple(map(str, named)))
            if fitting is None:
                problems.add(
                    "unknown question",
                    f"{record.where}: {' of '.join(map(str, named[:2]))} is not in {task.dataset}",
                )
            elif not fitting:
                problems.add("duplicate answer", f"{record.where}: {named[0]} was answered before")
            else:
                found[fitting.pop(0)] = Response(text)
        for names in open_ones.values():
            for name in names:
                problems.add("question without answer", f"{answers}: no answer to {name}")
        return task, (AnswerSet(None, None, found),)

    def _folder(self, folder: Path) -> Iterator[Item]:
        images = folder if self.images is None else Path(self.images)
        for side, label in _SIDES.items():
            path = folder / f"dash_benchmark_{side}.json"
            document = read_json(path)
            for dataset, name, files in _lists(document, path):
                for file in files:
                    place = f"{side}/{dataset}/{name}/{file}"
                    yield Item(
                        place,
                        place,
                        image_file(images, place, str(path)),
                        f"Can you see a {name} in this image? Please answer only with yes or no.",
                        {"label": label, "object_name": name, "img_id": file},
                        aliases=(file,),
                    )

    def _listed(self, path: Path, problems: Problems) -> Iterator[Item]:
        for record in read_dataset(path, problems, ("image",)):
            identifier = id_field(record, ("question_id",), problems)
            question = text_field(record, ("question",), problems)
            label = text_field(record, ("answer",), problems)
            name = text_field(record, ("object",), problems)
            if identifier is None or question is None or label is None or name is None:
                continue
            if label.strip().lower() not in (YES, NO):
                problems.add(
                    "label neither yes nor no",
                    f"{record.where}: answer {label!r} is neither yes nor no",
                )
                continue
            image_id = str(record.data.get("img_id") or identifier)
            _, image = listed_image(record, "image", self.images, image_id)
            truth = {"label": label.strip().lower(), "object_name": name, "img_id": image_id}
            yield Item(identifier, image_id, image, question, truth)


def _key(truth: Mapping[str, Any]) -> tuple[str, ...]:
    return truth["img_id"], truth["object_name"], truth["label"]


def _lists(document: Any, path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """The files of each dataset and object.

    Raises:
        DataError: The document is anything else.
    """
    by_dataset = document.items() if isinstance(document, dict) else None
    for dataset, objects in by_dataset or ():
        for name, files in objects.items() if isinstance(objects, dict) else ():
            if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
                raise DataError(f"{path}: {dataset}, {name}: a list of file names was expected")
            yield dataset, name, files
        if not isinstance(objects, dict):
            raise DataError(f"{path}: {dataset}: lists of files by object were expected")
    if by_dataset is None:
        raise DataError(f"{path}: lists of files by dataset and object were expected")
