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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secondsight.benchmarks.amber_words import Similar, SpacyWords, Words, plain_nouns
from secondsight.benchmarks.base import Benchmark, Item, Source, image_file, register
from secondsight.benchmarks.counts import Array, Counts, from_rows, harmonic, ratio
from secondsight.benchmarks.records import Problems, field, read_records
from secondsight.benchmarks.yesno import NO, UNPARSED, YES, first_standalone
from secondsight.errors import DataError
from secondsight.files import PathLike, read_json, read_text, text_hash
from secondsight.objects.lexicon import forms, words_of

DIMENSIONS: Mapping[str, str] = {
    "discriminative-hallucination": "existence",
    "discriminative-attribute-state": "state",
    "discriminative-attribute-number": "number",
    "discriminative-attribute-action": "action",
    "discriminative-relation": "relation",
}
_GENERATIVE = ("answers", "flawed", "mentions", "absent", "truths", "covered", "traps", "imagined")
_DISCRIMINATIVE = ("n", "correct", "labelled_no", "no", "no_right", "unparsed")
_OF_DESCRIPTIONS = ("chair", "cover", "hal", "cog", "answers")


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


@dataclass(frozen=True)
class Annotation:
    """The truth about one AMBER query."""

    kind: str
    truth: tuple[str, ...]
    imaginings: tuple[str, ...]


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
    if not isinstance(related, dict) or not all(isinstance(v, list) for v in related.values()):
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


def read_annotations(folder: PathLike, problems: Problems) -> dict[int, Annotation]:
    """Reads ``annotations.json`` of AMBER's data folder, by id."""
    path = Path(folder) / "annotations.json"
    document = read_json(path)
    if not isinstance(document, list):
        raise DataError(f"{path}: a list of annotations was expected")
    found: dict[int, Annotation] = {}
    for index, entry in enumerate(document, start=1):
        try:
            kind, truth = str(entry["type"]), entry["truth"]
            imaginings = entry.get("hallu", ()) if kind == "generative" else ()
        except (KeyError, TypeError, AttributeError) as error:
            problems.add("bad annotation", f"{path}: annotation {index}: lacks {error}")
            continue
        identifier = str(entry.get("id", index))
        if not identifier.isdecimal():
            problems.add("bad annotation", f"{path}: annotation {index}: id {identifier!r}")
            continue
        words = (str(truth).lower(),) if isinstance(truth, str) else tuple(map(str, truth))
        if kind != "generative" and words not in ((YES,), (NO,)):
            problems.add(
                "label neither yes nor no",
                f"{path}: annotation {index}: truth {truth!r} is neither yes nor no",
            )
            continue
        found[int(identifier)] = Annotation(kind, words, tuple(map(str, imaginings)))
    if not found:
        problems.settle()
        raise DataError(f"{path}: holds no annotation")
    return found


def count_amber(
    annotations: Sequence[Annotation], texts: Sequence[str], vocabulary: Vocabulary
) -> Counts:
    """Counts of AMBER answers, one row per answer."""
    dimensions = ("", *DIMENSIONS.values())
    names = [*_GENERATIVE, *(f"{name}/{count}" for name in dimensions for count in _DISCRIMINATIVE)]
    rows: list[dict[str, float]] = []
    predictions: list[str] = []
    for annotation, text in zip(annotations, texts, strict=True):
        row = dict.fromkeys(names, 0.0)
        if annotation.kind == "generative":
            row |= _described(annotation, text, vocabulary)
            predictions.append(UNPARSED)
        else:
            prediction = first_standalone(text)
            predictions.append(prediction)
            judged = _judged(annotation.truth[0], prediction)
            dimension = DIMENSIONS.get(annotation.kind, "relation")
            for name, value in judged.items():
                row[f"/{name}"] = row[f"{dimension}/{name}"] = value
        rows.append(row)
    return Counts(from_rows(rows, names), tuple(predictions))


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


def score_amber(
    answers: PathLike,
    annotations: PathLike,
    *,
    similar: Similar | str | None = None,
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
        lenient: Leave out what cannot be used, counted, instead of raising.

    Raises:
        DataError: Bad input, each case with its place.
    """
    problems = Problems(lenient=lenient)
    truth = read_annotations(annotations, problems)
    vocabulary = read_vocabulary(annotations, similar)
    given: dict[int, str] = {}
    for record in read_records(answers, problems):
        identifier = field(record, ("id",), problems)
        response = field(record, ("response",), problems)
        if identifier is None or response is None:
            continue
        if not str(identifier).isdecimal() or int(identifier) not in truth:
            problems.add("unknown id", f"{record.where}: id {identifier!r} has no annotation")
        elif int(identifier) in given:
            problems.add("duplicate id", f"{record.where}: id {identifier} was answered before")
        else:
            given[int(identifier)] = str(response)
    # The official query files may be answered one by one (generative, existence, ...): a kind
    # of question that is not answered at all is not missing.
    kinds = {truth[identifier].kind for identifier in given}
    for identifier, annotation in truth.items():
        if annotation.kind in kinds and identifier not in given:
            problems.add("query without answer", f"{answers}: no answer to id {identifier}")
    warnings = problems.settle()
    if not given:
        raise DataError(f"{answers}: holds no usable answer")
    order = sorted(given)
    counts = count_amber(
        [truth[identifier] for identifier in order],
        [given[identifier] for identifier in order],
        vocabulary,
    )
    return _result(counts, warnings)


def _result(counts: Counts, warnings: tuple[str, ...]) -> AmberResult:
    values = {name: float(value) for name, value in amber_metrics(counts.totals()).items()}
    generative = None
    if values["answers"]:
        generative = GenerativeScore(
            chair=values["chair"],
            cover=values["cover"],
            hal=values["hal"],
            cog=values["cog"],
            n=int(values["answers"]),
        )
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
    return DiscriminativeScore(
        accuracy=values[f"{prefix}accuracy"],
        precision=values[f"{prefix}precision"],
        recall=values[f"{prefix}recall"],
        f1=values[f"{prefix}f1"],
        n=int(values[f"{prefix}n"]),
        unparsed=int(values[f"{prefix}unparsed"]),
    )


@register
class Amber(Benchmark):
    """AMBER's queries."""

    name = "amber"
    title = "AMBER"
    primary = "amber_score"
    max_new_tokens = 256
    headline: tuple[str, ...] = ("amber_score", "chair", "f1", "cover", "hal", "cog", "accuracy")

    def __init__(self) -> None:
        self._vocabulary = Vocabulary({}, frozenset(), {})
        self._scoring: dict[str, Any] = {}
        self._dimensions: frozenset[str] = frozenset()

    def load(self, source: Source, problems: Problems) -> list[Item]:
        """One item per query of the query file."""
        if source.dataset is not None:
            raise DataError(
                "amber has no built-in dataset: give --annotations, --questions and --images"
            )
        folder = source.need("annotations")
        truth = read_annotations(folder, problems)
        self._vocabulary = read_vocabulary(folder, source.vectors)
        lists = [self._vocabulary.related, sorted(self._vocabulary.safe)]
        self._scoring = {"words_sha256": text_hash(json.dumps(lists)), "vectors": source.vectors}
        items = self._items(truth, source, problems)
        self._judge_what_is_asked({item.truth["type"] for item in items})
        return items

    def _judge_what_is_asked(self, kinds: set[str]) -> None:
        """Takes one half's own metric where only that half is asked about."""
        yes_no = kinds - {"generative"}
        dimensions = {DIMENSIONS.get(kind, "relation") for kind in yes_no}
        if dimensions & set(DIMENSIONS_OF_ATTRIBUTE):
            dimensions.add("attribute")
        self._dimensions = frozenset(dimensions)
        if not yes_no:
            self.primary, self.higher_is_better = "chair", False
        elif yes_no == kinds:
            self.primary = "f1"
        rest = [name for name in type(self).headline if name != self.primary]
        self.headline = (self.primary, *rest)

    def _items(
        self, truth: Mapping[int, Annotation], source: Source, problems: Problems
    ) -> list[Item]:
        images = source.need("images")
        items: list[Item] = []
        for record in read_records(source.need("questions"), problems):
            values = [field(record, (name,), problems) for name in ("id", "image", "query")]
            if any(value is None for value in values):
                continue
            identifier, image, query = values
            annotation = truth.get(int(str(identifier))) if str(identifier).isdecimal() else None
            if annotation is None:
                problems.add("unknown id", f"{record.where}: id {identifier!r} has no annotation")
                continue
            items.append(
                Item(
                    id=str(identifier),
                    image_id=str(image),
                    image=image_file(images, str(image)),
                    question=str(query),
                    truth={
                        "type": annotation.kind,
                        "truth": list(annotation.truth),
                        "hallu": list(annotation.imaginings),
                    },
                )
            )
        return items

    def count(self, items: Sequence[Item], texts: Sequence[str]) -> Counts:
        """Counts per answer."""
        annotations = [
            Annotation(item.truth["type"], tuple(item.truth["truth"]), tuple(item.truth["hallu"]))
            for item in items
        ]
        return Counts(count_amber(annotations, texts, self._vocabulary).columns)

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Both halves and the AMBER score, or the half that was asked about."""
        found = {
            name: values
            for name, values in amber_metrics(sums).items()
            if "." not in name or name.partition(".")[0] in self._dimensions
        }
        if self.primary == "amber_score":
            return found
        del found["amber_score"]
        described = self.primary == "chair"
        return {name: v for name, v in found.items() if (name in _OF_DESCRIPTIONS) == described}

    def scoring(self) -> Mapping[str, Any]:
        """The word lists, and the vectors that judge near synonyms."""
        return self._scoring
