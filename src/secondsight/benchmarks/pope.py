"""POPE: yes/no questions about the presence of objects (Li et al. 2023, arXiv 2305.10355)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from secondsight.benchmarks.base import Benchmark, image_file
from secondsight.benchmarks.options import option
from secondsight.benchmarks.pope_questions import STRATEGIES
from secondsight.benchmarks.records import Problems, id_field, read_records, text_field
from secondsight.benchmarks.registry import register
from secondsight.benchmarks.scoring import score
from secondsight.benchmarks.sticker_splits import DATASET, SPLITS, USUAL
from secondsight.benchmarks.task import Item, Task
from secondsight.benchmarks.yesno import (
    NO,
    PARSERS,
    YES,
    YES_NO_METRICS,
    YesNoResult,
    YesNoScorer,
    count_yes_no,
    yes_no_result,
)
from secondsight.errors import DataError
from secondsight.files import PathLike


@register("pope")
@dataclass(frozen=True)
class Pope(Benchmark):
    """Yes/no questions about objects, and any other yes/no set in POPE's format."""

    title: ClassVar[str] = "POPE"

    questions: PathLike | None = option(
        None, "question file: question_id, image, text, label per line", kind=Path
    )
    images: PathLike | None = option(None, "folder of the images", kind=Path)
    dataset: str | None = option(
        None, "a built-in dataset instead of files", kind=str, choices=(DATASET,)
    )
    split: str = option("test", "its split", choices=SPLITS)
    strategy: str = option("adversarial", "how questions are drawn on it", choices=STRATEGIES)
    per_image: int = option(
        3, "objects present, and as many absent, asked for each image on it", low=1
    )
    parser: str | None = option(
        None,
        "how yes and no are read; left out: the preset's way, else strict",
        kind=str,
        choices=tuple(PARSERS),
    )

    def load(self, problems: Problems) -> Task:
        """One item per question."""
        parser = self.parser or "strict"
        if self.dataset is not None:
            self.refuse_beside(f"--dataset {self.dataset}", ("questions", "images"))
            from secondsight.benchmarks.sticker_source import sticker_pope_items

            items = sticker_pope_items(self.split, self.strategy, self.per_image)
            name, usual = f"{self.dataset}/{self.split}/{self.strategy}", USUAL
        else:
            self.refuse_beside("--questions", ("split", "strategy", "per_image"))
            items = read_questions(self.need("questions"), problems, self.images)
            name, usual = Path(self.questions or "").name, None
        return Task(
            dataset=name,
            items=tuple(items),
            scorer=YesNoScorer(parser),
            metrics=YES_NO_METRICS,
            max_new_tokens=16,
            scoring={"parser": parser},
            usual_images=usual,
        )


def read_questions(
    path: PathLike, problems: Problems, images: PathLike | None = None
) -> list[Item]:
    """Reads a POPE question file.

    Args:
        path: JSON lines of ``question_id``, ``image``, ``text`` and ``label``.
        problems: Receives lines that cannot be used: a missing field, an id that stands there
            twice, a label that is neither yes nor no.
        images: Folder of the images; without it answers can be scored, but not made.

    Raises:
        DataError: If the file is unreadable or holds no question.
    """
    found: dict[str, Item] = {}
    for record in read_records(path, problems):
        identifier = id_field(record, ("question_id",), problems)
        text = text_field(record, ("text",), problems)
        label = text_field(record, ("label",), problems)
        if identifier is None or text is None or label is None:
            continue
        image = record.data.get("image")
        label = label.strip().lower()
        if label not in (YES, NO):
            problems.add(
                "label neither yes nor no", f"{record.where}: label {label!r} is neither yes nor no"
            )
        elif identifier in found:
            problems.add(
                "duplicate question_id",
                f"{record.where}: question_id {identifier} stands there twice",
            )
        elif images is not None and not isinstance(image, str):
            problems.add("missing field", f"{record.where}: no field 'image'")
        else:
            name = image if isinstance(image, str) else ""
            file = image_file(images, name, record.where)
            found[identifier] = Item(identifier, name, file, text, {"label": label})
    if not found:
        problems.settle()
        raise DataError(f"{path}: holds no usable question")
    return list(found.values())


def score_pope(
    questions: PathLike, answers: PathLike, *, parser: str = "strict", lenient: bool = False
) -> YesNoResult:
    """Scores yes/no answers that anyone's code produced.

    Args:
        questions: POPE question file.
        answers: JSON lines of ``question_id`` and ``text`` or ``answer``, or another form that
            is known.
        parser: ``strict``, ``official``, ``vcd-2023`` or ``ritual-2024``.
        lenient: Leave out what cannot be used, with a counted warning, instead of raising.

    Raises:
        DataError: Bad input, each case with file and line.
        UserError: An unknown parser.
    """
    pope = Pope(questions=questions, parser=parser)
    result: YesNoResult = score(pope, answers, lenient=lenient).result  # type: ignore[assignment]
    return result


def score_yes_no(
    labels: Sequence[str], texts: Sequence[str], *, parser: str = "strict"
) -> YesNoResult:
    """Scores yes/no answers in memory.

    Args:
        labels: ``"yes"`` or ``"no"`` per question.
        texts: The answers, in the same order.
        parser: ``strict``, ``official``, ``vcd-2023`` or ``ritual-2024``.
    """
    return yes_no_result(count_yes_no(labels, texts, parser))
