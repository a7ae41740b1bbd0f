"""Yes/no answers: the parsers that papers used, by name, and the metrics over them.

A parser reads all answers of a run at once, because one of them (`ritual-2024`) lets an answer
of several lines shift the labels of all later ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secondsight.benchmarks.counts import Array, Counts, from_rows, harmonic, ratio
from secondsight.benchmarks.task import Item, Metric, Response, Scorer
from secondsight.errors import UserError, nearest

YES, NO, UNPARSED = "yes", "no", "unparsed"
COLUMNS = ("n", "correct", "tp", "yes", "labelled_yes", "unparsed", "said", "said_yes")

# Standalone: not part of a word, a hyphenated compound (no-one) or a contraction. An underscore
# is no letter here: _Yes_ is how Markdown writes an emphatic yes.
_STANDALONE = re.compile(
    r"(?<![^\W_])(?<![^\W_]-)(yes|no)(?![^\W_]|[-'\u2019][^\W_])", re.IGNORECASE
)
_NEGATIONS = frozenset({"No", "not", "no"})
_RITUAL_NEGATIONS = _NEGATIONS | {"NO"}


@dataclass(frozen=True)
class Parsed:
    """What a parser made of a run's answers.

    Attributes:
        predictions: The prediction that is held against each label.
        said: All predictions that each answer contributed (more than one only in the
            ``ritual-2024`` quirk); the yes-ratio is taken over these.
        warnings: Notes for the reader.
    """

    predictions: tuple[str, ...]
    said: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...] = ()


Parser = Callable[[Sequence[str], Sequence[str]], Parsed]


def first_standalone(text: str) -> str:
    """The first standalone yes or no of a text, in lower case, or ``"unparsed"``."""
    match = _STANDALONE.search(text)
    return match.group(1).lower() if match else UNPARSED


def _strict(labels: Sequence[str], texts: Sequence[str]) -> Parsed:
    found = tuple(first_standalone(text) for text in texts)
    return Parsed(found, tuple((prediction,) for prediction in found))


def _official(labels: Sequence[str], texts: Sequence[str]) -> Parsed:
    # Words are what stands between blanks, so "isn't" is no negation, and neither is "NO" nor a
    # "No" that a line break or a bracket touches.
    found = tuple(
        NO if _NEGATIONS & set(text.partition(".")[0].replace(",", "").split(" ")) else YES
        for text in texts
    )
    return Parsed(found, tuple((prediction,) for prediction in found))


def _vcd_2023(labels: Sequence[str], texts: Sequence[str]) -> Parsed:
    # The label decides which substring is looked for: "no" in "I cannot tell" is right for a
    # label no, and the same answer is a "no" for a label yes because it lacks "yes".
    found = tuple(
        (YES if "yes" in text.lower() else NO)
        if label == YES
        else (NO if "no" in text.lower() else YES)
        for label, text in zip(labels, texts, strict=True)
    )
    return Parsed(found, tuple((prediction,) for prediction in found))


def _ritual_line(line: str) -> str:
    words = line.replace(".", "").replace(",", "").split(" ")
    negated = any(word in _RITUAL_NEGATIONS or word.endswith("n't") for word in words)
    return NO if negated else YES


def _ritual_2024(labels: Sequence[str], texts: Sequence[str]) -> Parsed:
    # The original strips an answer, then records one prediction for each of its lines.
    said = tuple(tuple(_ritual_line(line) for line in text.strip().split("\n")) for text in texts)
    stream = [prediction for lines in said for prediction in lines]
    surplus = len(stream) - len(labels)
    warnings: tuple[str, ...] = ()
    if surplus:
        first = next(index for index, lines in enumerate(said) if len(lines) > 1)
        warnings = (
            f"ritual-2024: {sum(len(lines) > 1 for lines in said)} answers have several lines, "
            f"{surplus} predictions too many: the labels of {len(labels) - first - 1} questions "
            f"after number {first + 1} are held against another question's answer, as in the "
            "original",
        )
    return Parsed(tuple(stream[: len(labels)]), said, warnings)


PARSERS: Mapping[str, Parser] = {
    "strict": _strict,
    "official": _official,
    "vcd-2023": _vcd_2023,
    "ritual-2024": _ritual_2024,
}


def parser(name: str) -> Parser:
    """A parser by name.

    Raises:
        UserError: If there is none of that name.
    """
    if name not in PARSERS:
        raise UserError(f"unknown parser {name!r}.{nearest(name, PARSERS)}")
    return PARSERS[name]


def count_yes_no(
    labels: Sequence[str], texts: Sequence[str], parser_name: str = "strict"
) -> Counts:
    """Counts of yes/no answers, in the order given.

    Args:
        labels: ``"yes"`` or ``"no"`` per question.
        texts: The answers.
        parser_name: One of `PARSERS`.
    """
    parsed = parser(parser_name)(labels, texts)
    rows = [
        {
            "n": 1,
            "correct": prediction == label,
            "tp": prediction == label == YES,
            "yes": prediction == YES,
            "labelled_yes": label == YES,
            "unparsed": prediction == UNPARSED,
            "said": len(said),
            "said_yes": said.count(YES),
        }
        for label, prediction, said in zip(labels, parsed.predictions, parsed.said, strict=True)
    ]
    return Counts(from_rows(rows, COLUMNS), parsed.predictions, parsed.warnings)


def yes_no_metrics(sums: Mapping[str, Array]) -> dict[str, Array]:
    """Accuracy, precision, recall, F1 (positive: yes), yes-ratio of the *answers*; fractions.

    An unparsed answer is wrong: it lowers accuracy, and recall where the label was yes; it is
    no "yes", so it does not enter precision.
    """
    precision = ratio(sums["tp"], sums["yes"])
    recall = ratio(sums["tp"], sums["labelled_yes"])
    return {
        "accuracy": ratio(sums["correct"], sums["n"]),
        "precision": precision,
        "recall": recall,
        "f1": harmonic(precision, recall),
        "yes_ratio": ratio(sums["said_yes"], sums["said"]),
        "n": np.asarray(sums["n"]),
        "unparsed": np.asarray(sums["unparsed"]),
    }


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


def yes_no_result(counts: Counts, warnings: tuple[str, ...] = ()) -> YesNoResult:
    """The score from counts."""
    values = {name: float(value) for name, value in yes_no_metrics(counts.totals()).items()}
    n, unparsed = int(values.pop("n")), int(values.pop("unparsed"))
    return YesNoResult(**values, n=n, unparsed=unparsed, warnings=(*warnings, *counts.warnings))


@dataclass(frozen=True)
class YesNoScorer(Scorer):
    """Judges yes/no answers; an item's truth has its ``label``.

    Attributes:
        parser: One of `PARSERS`.
    """

    parser: str = "strict"

    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """Counts per question."""
        labels = [item.truth["label"] for item in items]
        return count_yes_no(labels, [response.text for response in responses], self.parser)

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Accuracy, precision, recall, F1, yes-ratio."""
        return yes_no_metrics(sums)

    def result(
        self,
        items: Sequence[Item],
        responses: Sequence[Response],
        counts: Counts,
        warnings: tuple[str, ...] = (),
    ) -> YesNoResult:
        """The score of one run's answers."""
        return yes_no_result(counts, warnings)


YES_NO_METRICS = (
    Metric("accuracy", shown=True, panel=True),
    Metric("yes_ratio", better=None, shown=True, panel=True),
    Metric("f1", shown=True),
    Metric("precision", shown=True),
    Metric("recall", shown=True),
)
"""What the figures of `YesNoScorer` are; accuracy is what verdicts are about."""
