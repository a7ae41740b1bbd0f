"""HallusionBench: yes/no questions in sets of figures and their edits (arXiv 2310.14566).

aAcc is over answers; qAcc over questions, each asked about several figures of its set; fAcc over
figures, each asked several questions: all of their answers must be right. Hard are questions about
edited figures, easy all others. The official script lets a language model read the answers; here
strings are read, as VLMEvalKit does without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from secondsight.benchmarks.answer_files import AnswerSet
from secondsight.benchmarks.base import Benchmark, image_file
from secondsight.benchmarks.counts import Array, Counts, from_rows, ratio
from secondsight.benchmarks.options import option
from secondsight.benchmarks.records import Problems, Record, id_field, read_records, text_field
from secondsight.benchmarks.registry import register
from secondsight.benchmarks.task import Item, Metric, Response, Scorer, Task
from secondsight.benchmarks.yesno import NO, UNPARSED, YES, first_standalone
from secondsight.errors import DataError
from secondsight.files import PathLike

_KEY: Final = ("category", "subcategory", "set_id", "figure_id", "question_id")
_REPLY: Final = ("model_prediction", "prediction", "response", "text")
_CATEGORIES: Final = ("VD", "VS")
_EDITED: Final = "2"
"""The visual input of a figure that was edited against what one would expect."""
_MARKS: Final = ';/[]"{}()=+\\_-><@`,?!'
_PARTS: Final = ("question", "figure", "easy", "hard")
_COLUMNS = ("n", "correct", "unparsed", *(f"{p}s{r}" for p in _PARTS for r in ("", "_right")))


def either_word(text: str) -> str:
    """Yes if the word yes occurs and no does not, no the other way round, else unparsed.

    Words stand between blanks once marks are gone, as VLMEvalKit takes them out: a mark that
    touches a blank anywhere in the text is deleted wherever it stands, another becomes a blank.
    """
    lowered = text.lower()
    numbers = any(
        a.isdecimal() and b == "," and c.isdecimal()
        for a, b, c in zip(lowered, lowered[1:], lowered[2:], strict=False)
    )
    plain = lowered
    for mark in _MARKS:
        deleted = numbers or f"{mark} " in lowered or f" {mark}" in lowered
        plain = plain.replace(mark, "" if deleted else " ")
    words = set(plain.replace(".", "").split())
    said = {YES, NO} & words
    return said.pop() if len(said) == 1 else UNPARSED


PARSERS: Final[Mapping[str, Callable[[str], str]]] = {
    "words": either_word,
    "strict": first_standalone,
}
"""How yes and no are read, by name."""


@dataclass(frozen=True)
class HallusionScorer(Scorer):
    """Judges sets of answers.

    Attributes:
        parser: One of `PARSERS`.
    """

    parser: str = "words"

    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """Counts per answer; what needs several answers stands beside the last of them."""
        rows: list[dict[str, float]] = []
        parts: dict[tuple[str, ...], tuple[int, bool]] = {}
        predictions: list[str] = []
        for place, (item, response) in enumerate(zip(items, responses, strict=True)):
            truth = item.truth
            said = PARSERS[self.parser](response.text)
            # Who says neither, asked without the figure that would tell, is right.
            unaided = truth["category"] == "VS" and truth["figure_id"] == "0"
            right = said == truth["label"] or (unaided and said == UNPARSED)
            predictions.append(said)
            rows.append(
                dict.fromkeys(_COLUMNS, 0.0)
                | {"n": 1, "correct": right, "unparsed": said == UNPARSED}
            )
            for part in _parts(truth):
                parts[part] = (place, right and parts.get(part, (place, True))[1])
        for (kind, *_), (place, right) in parts.items():
            rows[place][f"{kind}s"] += 1
            rows[place][f"{kind}s_right"] += right
        return Counts(from_rows(rows, _COLUMNS), tuple(predictions))

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """The accuracies; fractions."""
        return {
            "accuracy": ratio(sums["correct"], sums["n"]),
            **{
                f"{part}_accuracy": ratio(sums[f"{part}s_right"], sums[f"{part}s"])
                for part in _PARTS
            },
            "unparsed": ratio(sums["unparsed"], sums["n"]),
        }


def _parts(truth: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The question, the figure, and the easy or hard question that an answer belongs to."""
    of_set = (truth["category"], truth["subcategory"], truth["set_id"])
    question, figure = (*of_set, truth["question_id"]), (*of_set, truth["figure_id"])
    original = truth["figure_id"] == "0"
    found: list[tuple[str, ...]] = [
        ("question", *question),
        ("hard" if truth["visual_input"] == _EDITED else "easy", *question),
    ]
    if not (original and truth["category"] == "VS"):  # there is no figure
        found.append(("figure", *figure))
    return found


@register("hallusionbench")
@dataclass(frozen=True)
class HallusionBench(Benchmark):
    """Yes/no questions about figures, illusions and their edits."""

    title: ClassVar[str] = "HallusionBench"

    questions: PathLike | None = option(None, "the official HallusionBench.json", kind=Path)
    images: PathLike | None = option(
        None, "the official folder of figures (VD/illusion/0_0.png, ...)", kind=Path
    )
    rows: str = option(
        "figures",
        "questions with a figure alone, or all (those without one can be scored, not asked)",
        choices=("figures", "all"),
    )
    parser: str = option(
        "words",
        "how yes and no are read: the one word of the two that occurs, or the first standalone",
        choices=tuple(PARSERS),
    )

    def load(self, problems: Problems) -> Task:
        """One item per question about a figure; the bootstrap draws sets."""
        path = self.need("questions")
        items: dict[str, Item] = {}
        for record in read_records(path, problems):
            item = _item(record, self.images, problems)
            if item is None or (self.rows == "figures" and item.truth["visual_input"] == "0"):
                continue
            if item.id in items:
                problems.add("duplicate question", f"{record.where}: {item.id} stands there twice")
            else:
                items[item.id] = item
        if not items:
            problems.settle()
            raise DataError(f"{path}: holds no usable question")
        return Task(
            dataset=Path(path).name,
            items=tuple(items.values()),
            scorer=HallusionScorer(self.parser),
            metrics=(
                Metric("accuracy", "aAcc", shown=True, panel=True),
                Metric("question_accuracy", "qAcc", shown=True, panel=True),
                Metric("figure_accuracy", "fAcc", shown=True),
                Metric("easy_accuracy", "easy", shown=True),
                Metric("hard_accuracy", "hard", shown=True),
                Metric("unparsed", better="less"),
            ),
            scoring={"parser": self.parser, "rows": self.rows},
        )

    def read(self, answers: PathLike, problems: Problems) -> tuple[Task, tuple[AnswerSet, ...]]:
        """Reads the official file of results, whose records repeat the questions, or any other."""
        if Path(answers).is_dir():
            return super().read(answers, problems)
        records = read_records(answers, problems)
        if not set(_KEY) <= set(records[0].data):
            return super().read(answers, problems)
        task = self.load(problems)
        wanted = {item.id for item in task.items}
        found: dict[str, Response] = {}
        for record in records:
            name = _named(record, problems)
            text = text_field(record, _REPLY, problems)
            if name is None or text is None:
                continue
            if name in found:
                problems.add("duplicate answer", f"{record.where}: {name} was answered before")
            elif name in wanted:
                found[name] = Response(text)
            elif str(record.data.get("visual_input")) != "0" or self.rows == "all":
                problems.add("unknown question", f"{record.where}: {name} is not in {task.dataset}")
        for name in wanted - set(found):
            problems.add("question without answer", f"{answers}: no answer to {name}")
        return task, (AnswerSet(None, None, found),)


def _named(record: Record, problems: Problems) -> str | None:
    parts = [id_field(record, (name,), problems) for name in _KEY]
    return None if None in parts else "/".join(map(str, parts))


def _item(record: Record, images: PathLike | None, problems: Problems) -> Item | None:
    name = _named(record, problems)
    question = text_field(record, ("question",), problems)
    answer = id_field(record, ("gt_answer",), problems)
    visual = id_field(record, ("visual_input",), problems)
    if name is None or question is None or answer is None or visual is None:
        return None
    category, subcategory, of_set, figure, number = name.split("/")
    if category not in _CATEGORIES or answer not in ("0", "1"):
        problems.add(
            "bad question",
            f"{record.where}: category {category!r}, gt_answer {answer!r}: VD or VS, and 0 or 1 "
            "were expected",
        )
        return None
    image = f"{category}/{subcategory}/{of_set}_{figure}.png"
    return Item(
        name,
        image,
        None if visual == "0" else image_file(images, image, record.where),
        question,
        {
            "label": YES if answer == "1" else NO,
            "visual_input": visual,
            **dict(zip(_KEY, (category, subcategory, of_set, figure, number), strict=True)),
        },
        together=f"{category}/{subcategory}/{of_set}",
    )
