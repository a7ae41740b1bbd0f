"""POPE: yes/no questions about the presence of objects (Li et al. 2023, arXiv 2305.10355)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secondsight.benchmarks.base import Benchmark, Item, Source, image_file, register
from secondsight.benchmarks.counts import Array, Counts
from secondsight.benchmarks.records import Problems, Record, field, read_records
from secondsight.benchmarks.yesno import NO, YES, count_yes_no, parser, yes_no_metrics
from secondsight.errors import DataError
from secondsight.files import PathLike


@dataclass(frozen=True)
class YesNoResult:
    """The score of yes/no answers; all but the counts are fractions in [0, 1].

    Attributes:
        accuracy: Share of right answers.
        precision: Of the answers yes, the share that is right.
        recall: Of the labels yes, the share answered yes.
        f1: Harmonic mean of the two.
        yes_ratio: Share of yes among the answers (not the labels).
        n: Questions scored.
        unparsed: Answers that are neither yes nor no; they count as wrong.
        warnings: Counted problems of lenient runs, and parser quirks that took effect.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes_ratio: float
    n: int
    unparsed: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the keys that the documentation names."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        warnings = values.pop("warnings")
        return {**values, **({"warnings": list(warnings)} if warnings else {})}


@dataclass(frozen=True)
class Question:
    """One line of a POPE question file."""

    id: str
    image: str
    text: str
    label: str


def read_questions(path: PathLike, problems: Problems) -> list[Question]:
    """Reads a POPE question file.

    Args:
        path: JSON lines of ``question_id``, ``image``, ``text`` and ``label``.
        problems: Receives lines that cannot be used: a missing field, an id that stands there
            twice, a label that is neither yes nor no.

    Raises:
        DataError: If the file is unreadable or holds no question.
    """
    found: dict[str, Question] = {}
    for record in read_records(path, problems):
        values = [field(record, (name,), problems) for name in ("question_id", "text", "label")]
        if any(value is None for value in values):
            continue
        identifier, text, label = (str(value) for value in values)
        if label.strip().lower() not in (YES, NO):
            problems.add(
                "label neither yes nor no", f"{record.where}: label {label!r} is neither yes nor no"
            )
        elif identifier in found:
            problems.add(
                "duplicate question_id",
                f"{record.where}: question_id {identifier} stands there twice",
            )
        else:
            image = str(record.data.get("image", ""))
            found[identifier] = Question(identifier, image, text, label.strip().lower())
    if not found:
        problems.settle()
        raise DataError(f"{path}: holds no usable question")
    return list(found.values())


def read_answers(path: PathLike, known: Mapping[str, Any], problems: Problems) -> dict[str, str]:
    """Reads answers by question id.

    Args:
        path: JSON lines of ``question_id`` and ``text`` or ``answer``.
        known: The question ids that there are.
        problems: Receives unknown and repeated ids (the first one counts) and malformed lines.
    """
    found: dict[str, str] = {}
    for record in read_records(path, problems):
        identifier, text = _answer(record, problems)
        if identifier is None or text is None:
            continue
        if identifier not in known:
            problems.add(
                "unknown question_id",
                f"{record.where}: question_id {identifier} is not among the questions",
            )
        elif identifier in found:
            problems.add(
                "duplicate question_id",
                f"{record.where}: question_id {identifier} was answered before",
            )
        else:
            found[identifier] = text
    return found


def _answer(record: Record, problems: Problems) -> tuple[str | None, str | None]:
    identifier = field(record, ("question_id",), problems)
    text = field(record, ("text", "answer"), problems)
    return (
        None if identifier is None else str(identifier),
        None if text is None else str(text),
    )


def score_pope(
    questions: PathLike, answers: PathLike, *, parser: str = "strict", lenient: bool = False
) -> YesNoResult:
    """Scores yes/no answers that anyone's code produced.

    Args:
        questions: POPE question file.
        answers: JSON lines of ``question_id`` and ``text`` or ``answer``.
        parser: ``strict``, ``vcd-2023`` or ``ritual-2024``.
        lenient: Leave out what cannot be used, with a counted warning, instead of raising.

    Raises:
        DataError: Bad input, each case with file and line.
        UserError: An unknown parser.
    """
    _require_parser(parser)
    problems = Problems(lenient=lenient)
    asked = {question.id: question for question in read_questions(questions, problems)}
    given = read_answers(answers, asked, problems)
    for identifier in asked:
        if identifier not in given:
            problems.add("question without answer", f"{answers}: no answer to {identifier}")
    warnings = problems.settle()
    # The questions' order, which matters to ritual-2024.
    scored = [identifier for identifier in asked if identifier in given]
    if not scored:
        raise DataError(f"{answers}: answers none of the questions in {questions}")
    result = score_yes_no(
        [asked[identifier].label for identifier in scored],
        [given[identifier] for identifier in scored],
        parser=parser,
    )
    return _with_warnings(result, warnings)


def score_yes_no(
    labels: Sequence[str], texts: Sequence[str], *, parser: str = "strict"
) -> YesNoResult:
    """Scores yes/no answers in memory.

    Args:
        labels: ``"yes"`` or ``"no"`` per question.
        texts: The answers, in the same order.
        parser: ``strict``, ``vcd-2023`` or ``ritual-2024``.
    """
    counts = count_yes_no(labels, texts, parser)
    values = {name: float(value) for name, value in yes_no_metrics(counts.totals()).items()}
    return YesNoResult(
        accuracy=values["accuracy"],
        precision=values["precision"],
        recall=values["recall"],
        f1=values["f1"],
        yes_ratio=values["yes_ratio"],
        n=int(values["n"]),
        unparsed=int(values["unparsed"]),
        warnings=counts.warnings,
    )


def _require_parser(name: str) -> None:
    parser(name)


def _with_warnings(result: YesNoResult, warnings: tuple[str, ...]) -> YesNoResult:
    return YesNoResult(
        **{**result.__dict__, "warnings": (*warnings, *result.warnings)},
    )


@register
class Pope(Benchmark):
    """Yes/no questions in POPE's format."""

    name = "pope"
    title = "POPE"
    primary = "accuracy"
    max_new_tokens = 16
    headline = ("accuracy", "yes_ratio", "f1", "precision", "recall")

    def __init__(self) -> None:
        self._parser = "strict"

    def load(self, source: Source, problems: Problems) -> list[Item]:
        """One item per question."""
        self._parser = source.parser or "strict"
        _require_parser(self._parser)
        if source.dataset is not None:
            from secondsight.benchmarks.sticker_source import sticker_pope_items

            return sticker_pope_items(source)
        folder = source.need("images")
        return [
            Item(
                id=question.id,
                image_id=question.image,
                image=image_file(folder, question.image),
                question=question.text,
                truth={"label": question.label},
            )
            for question in read_questions(source.need("questions"), problems)
        ]

    def count(self, items: Sequence[Item], texts: Sequence[str]) -> Counts:
        """Counts per question."""
        return count_yes_no([item.truth["label"] for item in items], texts, self._parser)

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Accuracy, precision, recall, F1, yes-ratio."""
        return yes_no_metrics(sums)

    def scoring(self) -> Mapping[str, Any]:
        """The parser."""
        return {"parser": self._parser}
