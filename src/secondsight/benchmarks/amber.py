"""AMBER: descriptions and yes/no questions with annotated truth (arXiv 2311.07397).

Generative: CHAIR (mentions of absent objects), Cover (annotated objects named), Hal (answers
with any absent object), Cog (likely imaginings that were named). Discriminative: a yes/no score
whose positive class is "no", the denial of something absent. The AMBER score is
(100 - CHAIR + F1) / 2 in percentage points.

The official script asks a tagger which words are nouns and a vector model which ones are near
synonyms; `amber_words` says what is done here without them, and how to use them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from secondsight.benchmarks.amber_words import Similar, SpacyWords, Words, plain_nouns
from secondsight.benchmarks.answer_files import AnswerSet, read_answers
from secondsight.benchmarks.base import Benchmark, image_file
from secondsight.benchmarks.counts import Array, Counts, from_rows, harmonic, ratio
from secondsight.benchmarks.options import option
from secondsight.benchmarks.records import Problems, as_id, id_field, read_records, text_field
from secondsight.benchmarks.registry import register
from secondsight.benchmarks.scoring import judge
from secondsight.benchmarks.task import CaptionCounts, Item, Metric, Response, Scorer, Task
from secondsight.benchmarks.yesno import NO, UNPARSED, YES, first_standalone
from secondsight.errors import DataError
from secondsight.files import PathLike, read_json, read_text, text_hash
from secondsight.objects.lexicon import forms, words_of
from secondsight.objects.mentions import word_count

DIMENSIONS: Mapping[str, str] = {
    "discriminative-hallucination": "existence",
    "discriminative-attribute-state": "state",
    "discriminative-attribute-number": "number",
    "discriminative-attribute-action": "action",
    "discriminative-relation": "relation",
}
_GENERATIVE = (
    *("answers", "flawed", "mentions", "absent", "truths", "covered", "traps", "imagined"),
    "words",
)
_DISCRIMINATIVE = ("n", "correct", "labelled_no", "no", "no_right", "unparsed")


@dataclass(frozen=True)
class Vocabulary:
    """AMBER's word lists.

    Attributes:
        related: ``relation.json``: a word to the words that count as the same.
        safe: ``safe_words.txt``: words that are never held against an answer.
        surface: Each word that counts, singular or plural, to its entry.
        words: A judge of nouns and near synonyms, beyond these lists.
        similar: A judgement of near synonyms alone.
    """

    related: Mapping[str, Sequence[str]]
    safe: frozenset[str]
    surface: Mapping[str, str]
    words: Words | None = None
    similar: Similar | None = None

    def named(self, text: str) -> list[str]:
        """The vocabulary's nouns in a text, in order, with repetitions."""
        nouns = self.words.nouns(text) if self.words else plain_nouns(text, self.surface)
        return [self.surface[noun] for noun in nouns if noun in self.surface]

    def same(self, word: str, truths: Sequence[str]) -> int | None:
        """The index of the annotated word that a word stands for, None if it is none of them."""
        return next((index for index, name in self._groups(truths) if name == word), None)

    def near(self, word: str, truths: Sequence[str]) -> int | None:
        """As `same`, for near synonyms; None without a judgement of them."""
        similar = self.words.similar if self.words else self.similar
        if similar is None:
            return None
        return next((index for index, name in self._groups(truths) if similar(word, name)), None)

    def _groups(self, truths: Sequence[str]) -> list[tuple[int, str]]:
        """Annotated words by index, those related to them first, as the official script asks."""
        related = [
            (index, name) for index, truth in enumerate(truths) for name in self._related(truth)
        ]
        return [*related, *enumerate(truths)]

    def _related(self, truth: str) -> Sequence[str]:
        return self.related.get(truth, ())


GENERATIVE = "generative"


@dataclass(frozen=True)
class Annotation:
    """The truth about one AMBER query."""

    kind: str
    truth: tuple[str, ...]
    imaginings: tuple[str, ...]

    @classmethod
    def of(cls, truth: Mapping[str, Any]) -> Annotation:
        """The truth of an item."""
        return cls(truth["type"], tuple(truth["truth"]), tuple(truth["hallu"]))

    def as_truth(self) -> dict[str, Any]:
        """JSON-ready, with the official names; a yes or no is the label too."""
        label = {} if self.kind == GENERATIVE else {"label": self.truth[0]}
        return {
            "type": self.kind,
            "truth": list(self.truth),
            "hallu": list(self.imaginings),
        } | label


@dataclass(frozen=True)
class GenerativeScore:
    """Descriptions; fractions in [0, 1].

    Attributes:
        chair: Share of named objects that are absent.
        cover: Share of annotated objects that are named.
        hal: Share of descriptions that name an absent object.
        cog: Share of the annotated likely imaginings that are named.
        n: Descriptions.
    """

    chair: float
    cover: float
    hal: float
    cog: float
    n: int


@dataclass(frozen=True)
class DiscriminativeScore:
    """Yes/no questions; precision and recall are of the answer "no"; fractions in [0, 1]."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    n: int
    unparsed: int


@dataclass(frozen=True)
class AmberResult:
    """The AMBER score.

    Attributes:
        generative: None if no description was scored.
        discriminative: None if no yes/no answer was scored.
        dimensions: The discriminative score by dimension, with ``attribute`` over its three.
        amber_score: (100 - CHAIR + F1) / 2 in percentage points; None unless both are there.
        warnings: Counted problems of lenient runs.
    """

    generative: GenerativeScore | None
    discriminative: DiscriminativeScore | None
    dimensions: Mapping[str, DiscriminativeScore]
    amber_score: float | None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the keys that the documentation names."""
        return {
            "generative": None if self.generative is None else dict(self.generative.__dict__),
            "discriminative": None
            if self.discriminative is None
            else {
                **self.discriminative.__dict__,
                "dimensions": {
                    name: dict(score.__dict__) for name, score in self.dimensions.items()
                },
            },
            "amber_score": self.amber_score,
            **({"warnings": list(self.warnings)} if self.warnings else {}),
        }


def read_vocabulary(folder: PathLike, similar: Similar | str | None = None) -> Vocabulary:
    """Reads ``relation.json`` and ``safe_words.txt`` of AMBER's data folder.

    Args:
        folder: The folder.
        similar: A judgement of near synonyms, or the name of a spaCy pipeline with word vectors.
    """
    root = Path(folder)
    related = read_json(root / "relation.json")
    if not isinstance(related, dict) or not all(map(_are_words, related.values())):
        raise DataError(f"{root / 'relation.json'}: an object of word lists was expected")
    # The official file may be empty of words without being wrong.
    safe_file = root / "safe_words.txt"
    safe = read_text(safe_file).splitlines() if safe_file.exists() else []
    words = [str(word) for word in (*related, *(w for group in related.values() for w in group))]
    surface: dict[str, str] = {}
    for word in words:
        for form in forms(words_of(word)):
            surface.setdefault(" ".join(form), word)
    surface.update({word.lower(): word for word in words})
    surface.pop("leaves", None)  # a leaf's plural; the official lemma of it is no entry either
    return Vocabulary(
        related,
        frozenset(word.strip() for word in safe if word.strip()),
        surface,
        words=SpacyWords(similar) if isinstance(similar, str) else None,
        similar=None if isinstance(similar, str) else similar,
    )


def read_annotations(folder: PathLike, problems: Problems) -> dict[str, Annotation]:
    """Reads ``annotations.json`` of AMBER's data folder, by id.

    Raises:
        DataError: It is unreadable, or holds no annotation.
    """
    path = Path(folder) / "annotations.json"
    document = read_json(path)
    if not isinstance(document, list):
        raise DataError(f"{path}: a list of annotations was expected")
    found: dict[str, Annotation] = {}
    for index, entry in enumerate(document, start=1):
        where = f"{path}: annotation {index}"
        if not isinstance(entry, dict):
            problems.add("bad annotation", f"{where}: not a JSON object")
            continue
        identifier = as_id(entry.get("id", index))
        kind, truth = entry.get("type"), entry.get("truth")
        imaginings = entry.get("hallu", []) if kind == GENERATIVE else []
        words: Any = [truth.lower()] if isinstance(truth, str) else truth
        if identifier is None or not isinstance(kind, str):
            problems.add("bad annotation", f"{where}: lacks an id or a type")
        elif not _are_words(words) or not _are_words(imaginings):
            problems.add("bad annotation", f"{where}: truth and hallu must be words")
        elif kind != GENERATIVE and words not in ([YES], [NO]):
            problems.add(
                "label neither yes nor no", f"{where}: truth {truth!r} is neither yes nor no"
            )
        elif identifier in found:
            problems.add("duplicate id", f"{where}: id {identifier} stands there twice")
        else:
            found[identifier] = Annotation(kind, tuple(words), tuple(imaginings))
    if not found:
        problems.settle()
        raise DataError(f"{path}: holds no annotation")
    return found


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def exact_word(text: str) -> str:
    """The official script's reading: the answer must be ``Yes`` or ``No`` and nothing else."""
    return {"Yes": YES, "No": NO}.get(text, UNPARSED)


PARSERS: Mapping[str, Callable[[str], str]] = {"strict": first_standalone, "official": exact_word}
"""How yes and no are read, by name."""


def count_amber(
    annotations: Sequence[Annotation],
    texts: Sequence[str],
    vocabulary: Vocabulary,
    parser: str = "strict",
) -> Counts:
    """Counts of AMBER answers, one row per answer.

    Verdicts are about figures that are no shares of right answers, so there are no predictions.
    """
    dimensions = ("", *DIMENSIONS.values())
    names = [*_GENERATIVE, *(f"{name}/{count}" for name in dimensions for count in _DISCRIMINATIVE)]
    rows: list[dict[str, float]] = []
    for annotation, text in zip(annotations, texts, strict=True):
        row = dict.fromkeys(names, 0.0)
        if annotation.kind == GENERATIVE:
            row |= _described(annotation, text, vocabulary)
        else:
            prediction = PARSERS[parser](text)
            judged = _judged(annotation.truth[0], prediction)
            dimension = DIMENSIONS.get(annotation.kind, "relation")
            for name, value in judged.items():
                row[f"/{name}"] = row[f"{dimension}/{name}"] = value
        rows.append(row)
    return Counts(from_rows(rows, names))


def _described(annotation: Annotation, text: str, vocabulary: Vocabulary) -> dict[str, float]:
    """The official procedure for one description."""
    covered: set[int] = set()
    imagined: set[int] = set()
    absent = 0
    named = vocabulary.named(text)
    for word in named:
        if word in vocabulary.safe:
            continue
        true = vocabulary.same(word, annotation.truth)
        if true is None:
            for find in (vocabulary.same, vocabulary.near):
                trap = find(word, annotation.imaginings)
                if trap is not None:
                    imagined.add(trap)
            true = vocabulary.near(word, annotation.truth)
        if true is None:
            absent += 1
        else:
            covered.add(true)
    return {
        "answers": 1,
        "flawed": float(absent > 0),
        "mentions": len(named),
        "absent": absent,
        "truths": len(annotation.truth),
        "covered": len(covered),
        "traps": len(annotation.imaginings),
        "imagined": len(imagined),
        "words": word_count(text),
    }


def _judged(label: str, prediction: str) -> dict[str, float]:
    return {
        "n": 1,
        "correct": float(prediction == label),
        "labelled_no": float(label == NO),
        "no": float(prediction == NO),
        "no_right": float(prediction == label == NO),
        "unparsed": float(prediction == UNPARSED),
    }


def amber_metrics(sums: Mapping[str, Array]) -> dict[str, Array]:
    """Metrics from summed counts; ``amber_score`` in percentage points, the rest fractions."""
    attribute = {
        f"attribute/{name}": np.sum([sums[f"{part}/{name}"] for part in DIMENSIONS_OF_ATTRIBUTE], 0)
        for name in _DISCRIMINATIVE
    }
    sums = {**sums, **attribute}
    found: dict[str, Array] = {
        "chair": ratio(sums["absent"], sums["mentions"]),
        "cover": ratio(sums["covered"], sums["truths"]),
        "hal": ratio(sums["flawed"], sums["answers"]),
        "cog": ratio(sums["imagined"], sums["traps"]),
        "answers": np.asarray(sums["answers"]),
    }
    for dimension in ("", "attribute", *DIMENSIONS.values()):
        of = {name: sums[f"{dimension}/{name}"] for name in _DISCRIMINATIVE}
        precision, recall = (
            ratio(of["no_right"], of["no"]),
            ratio(of["no_right"], of["labelled_no"]),
        )
        prefix = f"{dimension}." if dimension else ""
        found |= {
            f"{prefix}accuracy": ratio(of["correct"], of["n"]),
            f"{prefix}precision": precision,
            f"{prefix}recall": recall,
            f"{prefix}f1": harmonic(precision, recall),
            f"{prefix}n": np.asarray(of["n"]),
            f"{prefix}unparsed": np.asarray(of["unparsed"]),
        }
    found["amber_score"] = 50 * (1 - found["chair"] + found["f1"])
    return found


DIMENSIONS_OF_ATTRIBUTE = ("state", "number", "action")


@dataclass(frozen=True)
class AmberScorer(Scorer):
    """Judges AMBER's answers.

    Attributes:
        vocabulary: The word lists.
        parser: One of `PARSERS`.
    """

    caption_counts: ClassVar[CaptionCounts] = CaptionCounts(
        "answers", "words", "mentions", "absent"
    )

    vocabulary: Vocabulary
    parser: str = "strict"

    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """Counts per answer."""
        annotations = [Annotation.of(item.truth) for item in items]
        return count_amber(annotations, [r.text for r in responses], self.vocabulary, self.parser)

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Both halves and the AMBER score."""
        return amber_metrics(sums)

    def result(
        self,
        items: Sequence[Item],
        responses: Sequence[Response],
        counts: Counts,
        warnings: tuple[str, ...] = (),
    ) -> AmberResult:
        """The score of one run's answers."""
        values = {name: float(value) for name, value in amber_metrics(counts.totals()).items()}
        generative = None
        if values["answers"]:
            figures = {name: values[name] for name in ("chair", "cover", "hal", "cog")}
            generative = GenerativeScore(**figures, n=int(values["answers"]))
        overall = _discriminative(values, "")
        return AmberResult(
            generative=generative,
            discriminative=overall,
            dimensions={
                name: score
                for name in ("existence", "attribute", *DIMENSIONS_OF_ATTRIBUTE, "relation")
                if (score := _discriminative(values, f"{name}.")) is not None
            },
            amber_score=values["amber_score"] if generative and overall else None,
            warnings=warnings,
        )


def _discriminative(values: Mapping[str, float], prefix: str) -> DiscriminativeScore | None:
    if not values[f"{prefix}n"]:
        return None
    figures = {
        name: values[f"{prefix}{name}"] for name in ("accuracy", "precision", "recall", "f1")
    }
    return DiscriminativeScore(
        **figures, n=int(values[f"{prefix}n"]), unparsed=int(values[f"{prefix}unparsed"])
    )


_CHAIR = Metric("chair", "CHAIR", better="less", shown=True, panel=True, trade="upward")
_COVER = Metric("cover", "Cover", shown=True, trade="across")
_HAL, _COG = (Metric(name, name.title(), better="less", shown=True) for name in ("hal", "cog"))
_F1, _ACCURACY = Metric("f1", "F1", shown=True), Metric("accuracy", shown=True, panel=True)
_ANSWERS_NO = (Metric("precision"), Metric("recall"))


def _metrics(kinds: frozenset[str]) -> tuple[Metric, ...]:
    """The metrics of what is asked: one half's own where only that half is."""
    yes_no = kinds - {GENERATIVE}
    dimensions = {DIMENSIONS.get(kind, "relation") for kind in yes_no}
    if dimensions & set(DIMENSIONS_OF_ATTRIBUTE):
        dimensions.add("attribute")
    parts = tuple(
        Metric(f"{dimension}.{name}")
        for dimension in ("existence", "attribute", *DIMENSIONS_OF_ATTRIBUTE, "relation")
        if dimension in dimensions
        for name in ("accuracy", "precision", "recall", "f1")
    )
    if not yes_no:
        return (_CHAIR, _COVER, _HAL, _COG)
    if yes_no == kinds:
        return (_F1, _ACCURACY, *_ANSWERS_NO, *parts)
    both = Metric("amber_score", "AMBER score", unit="points", shown=True, panel=True)
    return (both, _CHAIR, _F1, _COVER, _HAL, _COG, _ACCURACY, *_ANSWERS_NO, *parts)


@register("amber")
@dataclass(frozen=True)
class Amber(Benchmark):
    """AMBER's descriptions and yes/no questions with annotated truth."""

    title: ClassVar[str] = "AMBER"

    annotations: PathLike | None = option(
        None, "AMBER's data folder (annotations.json, relation.json, safe_words.txt)", kind=Path
    )
    questions: PathLike | None = option(None, "query file: id, image, query", kind=Path)
    images: PathLike | None = option(None, "folder of the images", kind=Path)
    vectors: str | None = option(
        None,
        "spaCy pipeline with word vectors for near synonyms; officially en_core_web_lg",
        kind=str,
    )
    parser: str = option(
        "strict",
        "how yes and no are read: the first standalone word, or officially the bare word alone",
        choices=tuple(PARSERS),
    )

    def load(self, problems: Problems) -> Task:
        """One item per query of the query file."""
        folder = self.need("annotations")
        truth = read_annotations(folder, problems)
        items = _queries(self.need("questions"), truth, self.images, problems)
        return self._task(items, read_vocabulary(folder, self.vectors))

    def read(self, answers: PathLike, problems: Problems) -> tuple[Task, tuple[AnswerSet, ...]]:
        """Reads answers; without the query file, an answer is found by its id alone."""
        if self.questions is not None:
            return super().read(answers, problems)
        folder = self.need("annotations")
        task = self._task(
            _unasked(read_annotations(folder, problems)), read_vocabulary(folder, self.vectors)
        )
        return task, read_answers(answers, task, problems)

    def _task(self, items: Sequence[Item], vocabulary: Vocabulary) -> Task:
        kinds = frozenset(item.truth["type"] for item in items)
        lists = [vocabulary.related, sorted(vocabulary.safe)]
        return Task(
            dataset=Path(
                self.questions or Path(self.need("annotations")) / "annotations.json"
            ).name,
            items=tuple(items),
            scorer=AmberScorer(vocabulary, self.parser),
            metrics=_metrics(kinds),
            max_new_tokens=256,
            scoring={
                "words_sha256": text_hash(json.dumps(lists)),
                "vectors": self.vectors,
                "parser": self.parser,
            },
            own_questions=self.questions is not None,
        )


def _unasked(truth: Mapping[str, Annotation]) -> list[Item]:
    """Items without the words of the queries, for answers that are there already.

    The official query files may be answered one by one (generative, existence, ...).
    """
    return [
        Item(identifier, identifier, None, "", annotation.as_truth(), group=annotation.kind)
        for identifier, annotation in truth.items()
    ]


def _queries(
    path: PathLike,
    truth: Mapping[str, Annotation],
    images: PathLike | None,
    problems: Problems,
) -> list[Item]:
    items: dict[str, Item] = {}
    for record in read_records(path, problems):
        identifier = id_field(record, ("id",), problems)
        image = text_field(record, ("image",), problems)
        query = text_field(record, ("query",), problems)
        if identifier is None or image is None or query is None:
            continue
        annotation = truth.get(identifier)
        if annotation is None:
            problems.add("unknown id", f"{record.where}: id {identifier} has no annotation")
        elif identifier in items:
            problems.add("duplicate id", f"{record.where}: id {identifier} stands there twice")
        else:
            file = image_file(images, image, record.where)
            items[identifier] = Item(
                identifier, image, file, query, annotation.as_truth(), annotation.kind
            )
    if not items:
        problems.settle()
        raise DataError(f"{path}: holds no usable query")
    return list(items.values())


def score_amber(
    answers: PathLike,
    annotations: PathLike,
    *,
    similar: Similar | str | None = None,
    parser: str = "strict",
    lenient: bool = False,
) -> AmberResult:
    """Scores AMBER answers.

    Args:
        answers: The official format: objects of ``id`` and ``response``.
        annotations: AMBER's data folder: ``annotations.json``, ``relation.json``,
            ``safe_words.txt``.
        similar: Judges two words near synonyms, or the name of a spaCy pipeline that does, and
            finds the nouns (the official script's vectors: ``en_core_web_lg``); without it only
            ``relation.json`` does.
        parser: How yes and no are read: ``strict``, the first standalone word, or ``official``,
            the bare word ``Yes`` or ``No``, as the official script compares.
        lenient: Leave out what cannot be used, counted, instead of raising.

    Raises:
        DataError: Bad input, each case with its place.
    """
    problems = Problems(lenient=lenient)
    amber = Amber(
        annotations=annotations,
        vectors=similar if isinstance(similar, str) else None,
        parser=parser,
    )
    task, sets = amber.read(answers, problems)
    warnings = problems.settle()
    [found] = sets
    if not found.responses:
        raise DataError(f"{answers}: holds no usable answer")
    if similar is not None and not isinstance(similar, str):
        vocabulary = read_vocabulary(annotations, similar)
        task = replace(task, scorer=replace(task.scorer, vocabulary=vocabulary))  # type: ignore[type-var]
    result: AmberResult = judge(task, found, warnings)  # type: ignore[assignment]
    return result
