"""What a benchmark asks and how it judges, once its options are settled.

A task holds items (an image, a question, the truth), a scorer, which reduces answers to additive
counts and computes metrics from their sums, and metrics, which say how they are to be read.
Running, resuming, intervals, comparisons, tables, plots and reports go by these alone, and are the
same for every benchmark.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

from PIL import Image

from secondsight.benchmarks.counts import Array, Counts
from secondsight.errors import DataError, UserError
from secondsight.objects.mentions import first_words

Unit: TypeAlias = Literal["share", "points", "words", "count"]
"""A share is a fraction in [0, 1] and shown in percent; a count is neither compared nor plotted."""

ItemImage: TypeAlias = "Image.Image | Path | Callable[[], Image.Image] | None"
"""An image, its file, or what makes it when it is asked for; None where it is not at hand, so that
answers can be scored but not made."""


@dataclass(frozen=True)
class Item:
    """One question about one image.

    Attributes:
        id: Names it, uniquely in its dataset; the random numbers come from the seed and this.
        image_id: The image's name.
        image: The image.
        question: The text, before the preset adds its suffix.
        truth: What the answer is held against (JSON-ready).
        group: Items that are answered together: who answers one of a group must answer all of it;
            a group of which nothing is answered is no gap.
        aliases: Further names of the image in files of answers.
        together: Names what the bootstrap draws and a limit counts, where questions about several
            images are judged together; by default it is the image.
    """

    id: str
    image_id: str
    image: ItemImage = field(repr=False)
    question: str
    truth: Mapping[str, Any]
    group: str = ""
    aliases: tuple[str, ...] = ()
    together: str = ""

    @property
    def unit(self) -> str:
        """What the bootstrap draws and a limit counts: all that is judged with this item."""
        return self.together or self.image_id

    def shown(self) -> Image.Image | Path | None:
        """The image, made now where it is made on demand."""
        return self.image() if callable(self.image) else self.image


@dataclass(frozen=True)
class Response:
    """What was answered to an item.

    Attributes:
        text: The answer.
        finish_reason: Why it ended (``eos``, ``length``, ...), where that is known.
    """

    text: str
    finish_reason: str | None = None


@dataclass(frozen=True)
class Metric:
    """A figure that a scorer computes, and how it is to be read.

    Attributes:
        name: Its name in ``scores.json`` and in `Scorer.metrics`; ``count.accuracy`` is the
            accuracy of a part called count.
        title: Its name in reports; by default `name` with blanks.
        unit: What it is measured in.
        better: Whether more of it is better, or less; None where that cannot be said.
        shown: Whether it is a column of the reports. The terminal shows the first three.
        panel: Whether it is plotted in a panel of its own.
        trade: The axis of the plot that holds one metric against another, on which it stands.
    """

    name: str
    title: str = ""
    unit: Unit = "share"
    better: Literal["more", "less"] | None = "more"
    shown: bool = False
    panel: bool = False
    trade: Literal["across", "upward"] | None = None

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.title or self.name.replace("_", " ")

    @property
    def factor(self) -> int:
        """By what it is multiplied when it is shown."""
        return 100 if self.unit == "share" else 1

    @property
    def axis(self) -> str:
        """Its name on an axis, with the unit and the direction."""
        unit = "" if self.unit == "count" else f", {'%' if self.unit == 'share' else self.unit}"
        return self.label + unit + (f" ({self.better} is better)" if self.better else "")


class Result(Protocol):
    """The score of one run's answers."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The score, JSON-ready."""
        ...


@dataclass(frozen=True)
class Score:
    """The plain score: every metric by name.

    Attributes:
        values: The metrics.
        n: Items scored.
        warnings: What a reader should know.
    """

    values: Mapping[str, float]
    n: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The metrics by name, those of a part under the part's name."""
        found: dict[str, Any] = {}
        for name, value in self.values.items():
            part, _, metric = name.rpartition(".")
            (found.setdefault(part, {}) if part else found)[metric] = value
        warnings = {"warnings": list(self.warnings)} if self.warnings else {}
        return {**found, "n": self.n, **warnings}


@dataclass(frozen=True)
class CaptionCounts:
    """Which counts say how long a caption is and what it makes up.

    Attributes:
        captions: The count that is 1 for a caption and 0 for an answer of another kind.
        words: Its words.
        mentions: The objects that it mentions.
        made_up: Those of them that the image does not show.
    """

    captions: str
    words: str
    mentions: str
    made_up: str


class Scorer(ABC):
    """Judges answers: additive counts per answer, and metrics that are functions of their sums.

    Because of this form one function serves the plain score, every bootstrap resample of the
    images and every seed alike.

    Attributes:
        caption_counts: For captions the counts by which they are held against shorter ones; the
            metrics held against each other are those that a `Metric` declares as a `trade`.
    """

    caption_counts: ClassVar[CaptionCounts | None] = None

    @abstractmethod
    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """Reduces answers to counts.

        Args:
            items: The items, in the dataset's order.
            responses: Their answers, in the same order.
        """

    @abstractmethod
    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """The metrics from summed counts, elementwise over arrays of any one shape."""

    def judged_text(self, response: Response) -> str:
        """The part of an answer that is judged: by default all of it."""
        return response.text

    def cut(self, text: str, words: int) -> str:
        """The beginning of a caption, of so many words; all of it where it has no more."""
        return first_words(text, words)

    def result(
        self,
        items: Sequence[Item],
        responses: Sequence[Response],
        counts: Counts,
        warnings: tuple[str, ...] = (),
    ) -> Result:
        """The score of one run's answers, as ``secondsight score`` shows it.

        Args:
            items: The items.
            responses: Their answers.
            counts: What `count` made of them.
            warnings: Notes to hand on.
        """
        values = {name: float(value) for name, value in self.metrics(counts.totals()).items()}
        return Score(values, len(items), (*warnings, *counts.warnings))


@dataclass(frozen=True)
class Task:
    """A benchmark with its options settled: what is asked, and how answers are judged.

    Attributes:
        dataset: The name of the data; answers to another dataset do not mix with these.
        items: The questions, in the dataset's order.
        scorer: Judges the answers.
        metrics: The metrics, those of verdicts and columns first: verdicts are about the first.
        max_new_tokens: The usual limit of an answer.
        scoring: What scores depend on beside items and answers, such as a parser (JSON-ready).
        own_questions: Whether an item's question is its own, so that files of answers are checked
            by it; False for an instruction that all items share.
        usual_images: How many images are asked about where no limit is given; None for all.

    Raises:
        DataError: Two items share an id.
        UserError: Two metrics share a name, or there is none that verdicts could be about.
    """

    dataset: str
    items: tuple[Item, ...]
    scorer: Scorer
    metrics: tuple[Metric, ...]
    max_new_tokens: int = 64
    scoring: Mapping[str, Any] = field(default_factory=dict)
    own_questions: bool = True
    usual_images: int | None = None

    def __post_init__(self) -> None:
        for name, number in Counter(item.id for item in self.items).items():
            if number > 1:
                raise DataError(f"{self.dataset}: two items are called {name!r}")
        for name, number in Counter(metric.name for metric in self.metrics).items():
            if number > 1:
                raise UserError(f"{self.dataset}: two metrics are called {name!r}")
        if not self.metrics or self.metrics[0].unit == "count":
            raise UserError(f"{self.dataset}: verdicts need a first metric, which is no count")

    @property
    def primary(self) -> Metric:
        """The metric that verdicts are about."""
        return self.metrics[0]

    def metric(self, name: str) -> Metric:
        """A metric by name; one that the task does not declare is a count."""
        return next(
            (metric for metric in self.metrics if metric.name == name), Metric(name, unit="count")
        )

    def traded(self, axis: Literal["across", "upward"]) -> Metric | None:
        """The metric on one axis of the plot that holds one against another."""
        return next((metric for metric in self.metrics if metric.trade == axis), None)

    def compared(self, names: Sequence[str]) -> tuple[Metric, ...]:
        """Of the metrics that a scorer computed, those that are compared, as declared."""
        known = set(names)
        return tuple(m for m in self.metrics if m.name in known and m.unit != "count")


def first_images(items: Sequence[Item], limit: int | None) -> list[Item]:
    """The items about the first so many images, all of these images' items; None for all."""
    units = list(dict.fromkeys(item.unit for item in items))
    kept = set(units if limit is None else units[:limit])
    return [item for item in items if item.unit in kept]


def settled(scoring: Mapping[str, Any]) -> str:
    """What scores depend on, in words: ``parser strict``; empty where nothing is settled."""
    return ", ".join(
        f"{name.removesuffix('_sha256').replace('_', ' ')} {str(value)[:12]}"
        for name, value in scoring.items()
        if value is not None and value is not False
    )
