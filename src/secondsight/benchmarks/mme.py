"""MME: two yes/no questions per image, one of them to be denied (Fu et al., arXiv 2306.13394).

A task's score is 100 * accuracy + 100 * accuracy+, so at most 200; accuracy+ counts the images
whose two questions are both answered right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secondsight.benchmarks.base import Benchmark, Item, Source, register
from secondsight.benchmarks.counts import Array, Counts, ratio
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.yesno import NO, UNPARSED, YES
from secondsight.errors import DataError
from secondsight.files import PathLike, read_text

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
TOTALS: Mapping[str, tuple[str, ...]] = {
    "perception": PERCEPTION,
    "cognition": COGNITION,
    "hallucination": ("existence", "count", "position", "color"),
}

_COLUMNS = ("n", "correct", "images", "both", "tp", "yes", "labelled_yes", "other")
_REST = ("hallucination", "yes_ratio")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")


@dataclass(frozen=True)
class TaskScore:
    """One task.

    Attributes:
        accuracy: Share of questions answered right, in [0, 1].
        accuracy_plus: Share of images with both questions right, in [0, 1].
        score: 100 * (accuracy + accuracy_plus), in MME's points.
        precision: Of the answers yes, the share that is right; answers that are neither yes nor
            no are left out.
        recall: Of the labels yes that were answered yes or no, the share answered yes.
        n: Questions.
        other: Answers that are neither yes nor no; wrong in both accuracies.
    """

    accuracy: float
    accuracy_plus: float
    score: float
    precision: float
    recall: float
    n: int
    other: int


@dataclass(frozen=True)
class MmeResult:
    """The MME score.

    Attributes:
        tasks: Score per task.
        totals: Points over the tasks of perception, cognition and hallucination (existence,
            count, position, color); None where no task of the group was scored.
        missing: Official tasks that were not scored and so are not in the totals.
        warnings: Counted problems of lenient runs.
    """

    tasks: Mapping[str, TaskScore]
    totals: Mapping[str, float | None]
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the keys that the documentation names."""
        return {
            "tasks": {name: dict(task.__dict__) for name, task in self.tasks.items()},
            "totals": dict(self.totals),
            **({"missing": list(self.missing)} if self.missing else {}),
            **({"warnings": list(self.warnings)} if self.warnings else {}),
        }


@dataclass(frozen=True)
class Answered:
    """One line of an answer file."""

    image: str
    label: str
    answer: str


def parse_mme(answer: str) -> str:
    """MME's parse: exactly yes or no, else the first 4 characters, "yes" before "no"."""
    lowered = answer.lower()
    if lowered in (YES, NO):
        return lowered
    head = lowered[:4]
    return YES if YES in head else NO if NO in head else UNPARSED


def count_pairs(rows: Sequence[tuple[str, str, str]]) -> Counts:
    """Counts of MME answers.

    Args:
        rows: Task, label and answer; every two rows in sequence are one image's.
    """
    tasks = dict.fromkeys(task for task, _, _ in rows)
    columns = {f"{task}/{name}": np.zeros(len(rows)) for task in ("", *tasks) for name in _COLUMNS}
    predictions = [parse_mme(answer) for _, _, answer in rows]
    right = [
        prediction == label for prediction, (_, label, _) in zip(predictions, rows, strict=True)
    ]
    for index, (task, label, _) in enumerate(rows):
        prediction = predictions[index]
        second = index % 2 == 1
        values = {
            "n": 1,
            "correct": right[index],
            "images": second,
            "both": second and right[index] and right[index - 1],
            "tp": prediction == label == YES,
            "yes": prediction == YES,
            "labelled_yes": label == YES and prediction != UNPARSED,
            "other": prediction == UNPARSED,
        }
        for name, value in values.items():
            columns[f"/{name}"][index] = columns[f"{task}/{name}"][index] = float(value)
    columns["correct"] = columns["/correct"]
    return Counts(columns, tuple(predictions))


def mme_metrics(sums: Mapping[str, Array]) -> dict[str, Array]:
    """Metrics over all questions, ``task.metric`` for each task, and the totals in points."""
    tasks = [name.removesuffix("/n") for name in sums if name.endswith("/n")]
    found: dict[str, Array] = {}
    for task in tasks:
        of = {name: sums[f"{task}/{name}"] for name in _COLUMNS}
        accuracy = ratio(of["correct"], of["n"])
        accuracy_plus = ratio(of["both"], of["images"])
        prefix = f"{task}." if task else ""
        found |= {
            f"{prefix}accuracy": accuracy,
            f"{prefix}accuracy_plus": accuracy_plus,
            f"{prefix}score": 100 * (accuracy + accuracy_plus),
            f"{prefix}precision": ratio(of["tp"], of["yes"]),
            f"{prefix}recall": ratio(of["tp"], of["labelled_yes"]),
            f"{prefix}yes_ratio": ratio(of["yes"], of["n"]),
            f"{prefix}n": np.asarray(of["n"]),
            f"{prefix}other": np.asarray(of["other"]),
        }
    for total, members in TOTALS.items():
        scores = [found[f"{task}.score"] for task in members if task in tasks]
        if scores:
            found[total] = np.sum(scores, axis=0)
    return found


def mme_result(rows: Sequence[tuple[str, str, str]], warnings: tuple[str, ...] = ()) -> MmeResult:
    """The score of answers in memory (rows as in `count_pairs`)."""
    values = {name: float(value) for name, value in mme_metrics(count_pairs(rows).totals()).items()}
    tasks = list(dict.fromkeys(task for task, _, _ in rows))
    return MmeResult(
        tasks={
            task: TaskScore(
                accuracy=values[f"{task}.accuracy"],
                accuracy_plus=values[f"{task}.accuracy_plus"],
                score=values[f"{task}.score"],
                precision=values[f"{task}.precision"],
                recall=values[f"{task}.recall"],
                n=int(values[f"{task}.n"]),
                other=int(values[f"{task}.other"]),
            )
            for task in tasks
        },
        totals={total: values.get(total) for total in TOTALS},
        missing=tuple(task for task in (*PERCEPTION, *COGNITION) if task not in tasks),
        warnings=warnings,
    )


def score_mme(answers: PathLike, *, lenient: bool = False) -> MmeResult:
    """Scores a folder of MME answers.

    Args:
        answers: Folder of ``TASK.txt`` files; each line holds image, question, label and answer,
            separated by tabs; two lines in sequence for each image.
        lenient: Leave out images with bad lines, counted, instead of raising.

    Raises:
        DataError: Bad input, each case with file and line.
    """
    problems = Problems(lenient=lenient)
    folder = Path(answers)
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; MME's answers are a folder of TASK.txt files")
    files = sorted(folder.glob("*.txt"), key=_official_order)
    if not files:
        raise DataError(f"{folder}: holds no TASK.txt file")
    rows = [
        (file.stem, line.label, line.answer) for file in files for line in _pairs(file, problems)
    ]
    warnings = problems.settle()
    if not rows:
        raise DataError(f"{folder}: holds no usable answer")
    return mme_result(rows, warnings)


def _official_order(file: Path) -> tuple[int, str]:
    order = (*PERCEPTION, *COGNITION)
    return (order.index(file.stem) if file.stem in order else len(order), file.stem)


def _pairs(file: Path, problems: Problems) -> list[Answered]:
    """The lines of a task file, image by image; an image with a bad line is left out."""
    numbered = [
        (number, line.rstrip("\r"))
        for number, line in enumerate(read_text(file).split("\n"), start=1)
        if line.strip()
    ]
    found: list[Answered] = []
    if len(numbered) % 2:
        problems.add(
            "odd number of lines",
            f"{file}:{numbered[-1][0]}: {len(numbered)} lines, but each image has two questions",
        )
    for first, second in zip(numbered[::2], numbered[1::2], strict=False):
        lines = [_answered(file, *first, problems), _answered(file, *second, problems)]
        pair = [line for line in lines if line is not None]
        if len(pair) < 2:
            continue
        if pair[0].image != pair[1].image:
            problems.add(
                "unpaired image",
                f"{file}:{second[0]}: the second question of {pair[0].image} was expected, "
                f"not one of {pair[1].image}",
            )
            continue
        found += pair
    return found


def _answered(file: Path, number: int, line: str, problems: Problems) -> Answered | None:
    parts = line.split("\t")
    if len(parts) != 4:
        problems.add(
            "malformed line",
            f"{file}:{number}: {len(parts)} tab-separated fields instead of 4 "
            "(image, question, label, answer)",
        )
        return None
    image, _, label, answer = parts
    if label.strip().lower() not in (YES, NO):
        problems.add(
            "label neither yes nor no", f"{file}:{number}: label {label!r} is neither yes nor no"
        )
        return None
    return Answered(image, label.strip().lower(), answer)


@register
class Mme(Benchmark):
    """MME's pairs of yes/no questions."""

    name = "mme"
    title = "MME"
    primary = "accuracy"
    max_new_tokens = 16
    headline: tuple[str, ...] = ("accuracy", "accuracy_plus", *_REST)

    def load(self, source: Source, problems: Problems) -> list[Item]:
        """One item per question, the two of an image in sequence."""
        if source.dataset is not None:
            from secondsight.benchmarks.sticker_source import sticker_mme_items

            items = sticker_mme_items(source)
        else:
            items = read_benchmark(source.need("annotations"), problems)
        if {item.truth["task"] for item in items} - set(TOTALS["hallucination"]):
            self.headline = ("accuracy", "accuracy_plus", "perception", "cognition", *_REST)
        return items

    def count(self, items: Sequence[Item], texts: Sequence[str]) -> Counts:
        """Counts per question."""
        return count_pairs(
            [
                (item.truth["task"], item.truth["label"], " ".join(text.split()))
                for item, text in zip(items, texts, strict=True)
            ]
        )

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Accuracies, scores per task and totals."""
        return mme_metrics(sums)


def read_benchmark(folder: PathLike, problems: Problems) -> list[Item]:
    """Reads MME's benchmark folder.

    Args:
        folder: One folder per task, with images and, for each, a text file of the same name
            with two lines of question and label, separated by a tab; either side by side or in
            ``images`` and ``questions_answers_YN``.
        problems: Receives bad lines.

    Raises:
        DataError: If the folder holds no task.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: not a folder")
    items: list[Item] = []
    for task in sorted(path for path in root.iterdir() if path.is_dir()):
        images = task / "images" if (task / "images").is_dir() else task
        texts = task / "questions_answers_YN"
        for file in sorted((texts if texts.is_dir() else task).glob("*.txt")):
            items += _questions(task.name, file, images, problems)
    if not items:
        problems.settle()
        raise DataError(f"{root}: holds no task folder with questions")
    return items


def _questions(task: str, file: Path, images: Path, problems: Problems) -> list[Item]:
    lines = [line for line in read_text(file).splitlines() if line.strip()]
    pairs = [line.rstrip().rsplit("\t", 1) for line in lines]
    bad = [pair for pair in pairs if len(pair) != 2 or pair[1].strip().lower() not in (YES, NO)]
    if len(pairs) != 2 or bad:
        problems.add(
            "malformed question file",
            f"{file}: two lines of a question, a tab and yes or no were expected",
        )
        return []
    candidates = [images / f"{file.stem}{suffix}" for suffix in _IMAGES]
    shown = next((path for path in candidates if path.is_file()), candidates[0])
    return [
        Item(
            id=f"{task}/{file.stem}/{number}",
            image_id=f"{task}/{file.stem}",
            image=shown,
            question=question,
            truth={"task": task, "label": label.strip().lower()},
        )
        for number, (question, label) in enumerate(pairs, start=1)
    ]
