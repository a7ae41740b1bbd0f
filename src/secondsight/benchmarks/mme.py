"""MME: two yes/no questions per image, one of them to be denied (Fu et al., arXiv 2306.13394).

A task's score is 100 * accuracy + 100 * accuracy+, so at most 200; accuracy+ counts the images
whose two questions are both answered right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from secondsight.benchmarks.answer_files import ANSWERS, AnswerSet
from secondsight.benchmarks.base import Benchmark
from secondsight.benchmarks.counts import Array, Counts, ratio
from secondsight.benchmarks.options import option
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.registry import register
from secondsight.benchmarks.scoring import score
from secondsight.benchmarks.sticker_splits import DATASET, SPLITS, USUAL
from secondsight.benchmarks.task import Item, Metric, Response, Scorer, Task
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

OFFICIAL: Final = (*PERCEPTION, *COGNITION)
_COLUMNS = ("n", "correct", "images", "both", "tp", "yes", "labelled_yes", "other")
_SHARES: Final = ("accuracy", "accuracy_plus", "precision", "recall", "yes_ratio")
_FIGURES: Final = ("accuracy", "accuracy_plus", "score", "precision", "recall")
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
        warnings: Counted problems of lenient runs, tasks that are in no total, totals over fewer
            tasks than the official ones.
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


def parse_mme(answer: str) -> str:
    """MME's parse: exactly yes or no, else the first 4 characters, "yes" before "no"."""
    lowered = answer.lower()
    if lowered in (YES, NO):
        return lowered
    head = lowered[:4]
    return YES if YES in head else NO if NO in head else UNPARSED


def count_pairs(items: Sequence[Item], texts: Sequence[str]) -> Counts:
    """Counts of MME answers.

    Args:
        items: The questions, those of an image in sequence; the truth has ``task`` and ``label``.
        texts: Their answers.
    """
    tasks = dict.fromkeys(item.truth["task"] for item in items)
    columns = {f"{task}/{name}": np.zeros(len(items)) for task in ("", *tasks) for name in _COLUMNS}
    predictions = [parse_mme(text) for text in texts]
    labels = [item.truth["label"] for item in items]
    right = [one == label for one, label in zip(predictions, labels, strict=True)]
    pairs = [(item.truth["task"], item.image_id) for item in items]
    for index, (task, _) in enumerate(pairs):
        prediction, label = predictions[index], labels[index]
        second = index > 0 and pairs[index] == pairs[index - 1]
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


class MmeScorer(Scorer):
    """Judges MME's pairs of answers."""

    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """Counts per question."""
        return count_pairs(items, [_one_line(response.text) for response in responses])

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Accuracies, scores per task and totals."""
        return mme_metrics(sums)

    def result(
        self,
        items: Sequence[Item],
        responses: Sequence[Response],
        counts: Counts,
        warnings: tuple[str, ...] = (),
    ) -> MmeResult:
        """The score of one run's answers."""
        values = {name: float(value) for name, value in mme_metrics(counts.totals()).items()}
        tasks = list(dict.fromkeys(item.truth["task"] for item in items))
        return MmeResult(
            tasks={
                task: TaskScore(
                    **{name: values[f"{task}.{name}"] for name in _FIGURES},
                    n=int(values[f"{task}.n"]),
                    other=int(values[f"{task}.other"]),
                )
                for task in tasks
            },
            totals={total: values.get(total) for total in TOTALS},
            missing=tuple(task for task in OFFICIAL if task not in tasks),
            warnings=(*warnings, *unofficial(tasks), *_partial(tasks)),
        )


def _one_line(text: str) -> str:
    """The answer as a line of MME's own files can hold it."""
    return " ".join(text.split()) if set("\n\r\t") & set(text) else text


def unofficial(tasks: Sequence[str]) -> list[str]:
    """What is said of tasks that are none of MME's, and so are in no total."""
    found = []
    for task in tasks:
        if task not in OFFICIAL:
            near = get_close_matches(task.lower(), OFFICIAL, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            found.append(f"{task!r} is no task of MME and is in no total{hint}")
    return found


def _partial(tasks: Sequence[str]) -> list[str]:
    """What is said of totals over some of their tasks."""
    return [
        f"the total {total} is over {len(there)} of {len(members)} tasks: {', '.join(there)}"
        for total, members in TOTALS.items()
        if 0 < len(there := [task for task in members if task in tasks]) < len(members)
    ]


@register("mme")
@dataclass(frozen=True)
class Mme(Benchmark):
    """MME's pairs of yes/no questions."""

    title: ClassVar[str] = "MME"

    annotations: PathLike | None = option(None, "MME's benchmark folder", kind=Path)
    dataset: str | None = option(
        None, "a built-in dataset instead of files", kind=str, choices=(DATASET,)
    )
    split: str = option("test", "its split", choices=SPLITS)

    def load(self, problems: Problems) -> Task:
        """One item per question, the two of an image in sequence."""
        if self.dataset is not None:
            self.refuse_beside(f"--dataset {self.dataset}", ("annotations",))
            from secondsight.benchmarks.sticker_source import sticker_mme_items

            items = sticker_mme_items(self.split)
            return _task(f"{self.dataset}/{self.split}", items, USUAL)
        self.refuse_beside("--annotations", ("split",))
        folder = self.need("annotations")
        return _task(Path(folder).name, read_benchmark(folder, problems))

    def read(self, answers: PathLike, problems: Problems) -> tuple[Task, tuple[AnswerSet, ...]]:
        """Reads MME's own folder of answers, which holds the labels, or any other file."""
        folder = Path(answers)
        if (self.dataset is None and self.annotations is None) or (
            folder.is_dir() and not (folder / ANSWERS).exists()
        ):
            items, texts = read_mme_answers(folder, problems)
            responses = {item.id: Response(text) for item, text in zip(items, texts, strict=True)}
            return _task(folder.name, items), (AnswerSet(None, None, responses),)
        return super().read(answers, problems)


def _task(dataset: str, items: Sequence[Item], usual: int | None = None) -> Task:
    tasks = dict.fromkeys(item.truth["task"] for item in items)
    totals = [name for name in TOTALS if set(TOTALS[name]) & set(tasks)]
    small = not set(tasks) - set(TOTALS["hallucination"])  # perception says the same of these
    return Task(
        dataset=dataset,
        items=tuple(items),
        scorer=MmeScorer(),
        metrics=(
            Metric("accuracy", shown=True, panel=True),
            Metric("accuracy_plus", "accuracy+", shown=True),
            *(
                Metric(
                    name,
                    unit="points",
                    shown=name == "hallucination" or not small,
                    panel=name == "hallucination",
                )
                for name in totals
            ),
            Metric("yes_ratio", better=None, shown=True, panel=True),
            Metric("score", unit="points"),
            Metric("precision"),
            Metric("recall"),
            *(metric for task in tasks for metric in _task_metrics(task)),
        ),
        max_new_tokens=16,
        usual_images=usual,
    )


def _task_metrics(task: str) -> tuple[Metric, ...]:
    score_of = Metric(f"{task}.score", unit="points")
    return (score_of, *(replace(score_of, name=f"{task}.{n}", unit="share") for n in _SHARES))


def score_mme(answers: PathLike, *, lenient: bool = False) -> MmeResult:
    """Scores a folder of MME answers.

    Args:
        answers: Folder of ``TASK.txt`` files; each line holds image, question, label and answer,
            separated by tabs; two lines in sequence for each image.
        lenient: Leave out images with bad lines, counted, instead of raising.

    Raises:
        DataError: Bad input, each case with file and line.
    """
    result: MmeResult = score(Mme(), answers, lenient=lenient).result  # type: ignore[assignment]
    return result


def read_mme_answers(folder: PathLike, problems: Problems) -> tuple[list[Item], list[str]]:
    """Reads MME's own folder of answers.

    Args:
        folder: Folder of ``TASK.txt`` files.
        problems: Receives bad lines, and images that a task has twice.

    Returns:
        The questions, and their answers.

    Raises:
        DataError: It is no folder, or holds no usable answer.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(
            f"{root}: not a folder; MME's answers are a folder of TASK.txt files (a file of other "
            "answers needs --annotations as well, MME's benchmark folder)"
        )
    files = sorted(root.glob("*.txt"), key=_official_order)
    if not files:
        raise DataError(f"{root}: holds no TASK.txt file")
    found = [pair for file in files for pair in _pairs(file, problems)]
    if not found:
        problems.settle()
        raise DataError(f"{root}: holds no usable answer")
    return [item for item, _ in found], [text for _, text in found]


def _official_order(file: Path) -> tuple[int, str]:
    return (OFFICIAL.index(file.stem) if file.stem in OFFICIAL else len(OFFICIAL), file.stem)


def _pairs(file: Path, problems: Problems) -> list[tuple[Item, str]]:
    """The lines of a task file, image by image; an image with a bad line is left out."""
    numbered = [
        (number, line.rstrip("\r"))
        for number, line in enumerate(read_text(file).split("\n"), start=1)
        if line.strip()
    ]
    found: dict[str, tuple[tuple[Item, str], ...]] = {}
    if len(numbered) % 2:
        problems.add(
            "odd number of lines",
            f"{file}:{numbered[-1][0]}: {len(numbered)} lines, but each image has two questions",
        )
    for first, second in zip(numbered[::2], numbered[1::2], strict=False):
        lines = [
            _answered(file, *line, place, problems) for place, line in enumerate((first, second), 1)
        ]
        pair = tuple(line for line in lines if line is not None)
        if len(pair) < 2:
            continue
        images = [item.aliases[0] for item, _ in pair]
        if images[0] != images[1]:
            problems.add(
                "unpaired image",
                f"{file}:{second[0]}: the second question of {images[0]} was expected, "
                f"not one of {images[1]}",
            )
        elif images[0] in found:
            problems.add("duplicate image", f"{file}:{first[0]}: {images[0]} was answered before")
        else:
            found[images[0]] = pair
    return [line for pair in found.values() for line in pair]


def _answered(
    file: Path, number: int, line: str, place: int, problems: Problems
) -> tuple[Item, str] | None:
    parts = line.split("\t")
    if len(parts) != 4:
        problems.add(
            "malformed line",
            f"{file}:{number}: {len(parts)} tab-separated fields instead of 4 "
            "(image, question, label, answer)",
        )
        return None
    image, question, label, answer = parts
    if label.strip().lower() not in (YES, NO):
        problems.add(
            "label neither yes nor no", f"{file}:{number}: label {label!r} is neither yes nor no"
        )
        return None
    return _item(file.stem, image, place, question, label), answer


def _item(
    task: str, image: str, number: int, question: str, label: str, file: Path | None = None
) -> Item:
    return Item(
        id=f"{task}/{image}/{number}",
        image_id=f"{task}/{image}",
        image=file,
        question=question,
        truth={"task": task, "label": label.strip().lower()},
        group=task,
        aliases=(image, *(() if file is None else (file.name, f"{task}/{file.name}"))),
    )


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
        _item(task, file.stem, number, question, label, shown)
        for number, (question, label) in enumerate(pairs, start=1)
    ]
