"""CHAIR: which objects a caption names, and which of them the image does not show.

Rohrbach et al. 2018, arXiv 1809.02156. CHAIRs: share of captions that name an absent object.
CHAIRi: share of mentions that are of absent objects. Beside it recall, because a caption that
says less errs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secondsight.benchmarks.base import Benchmark, Item, Source, image_file, register
from secondsight.benchmarks.coco import GroundTruth, ground_truth, read_ground_truth
from secondsight.benchmarks.counts import Array, Counts, from_rows, harmonic, ratio
from secondsight.benchmarks.records import Problems, field, read_records
from secondsight.errors import DataError
from secondsight.files import PathLike, read_text, text_hash
from secondsight.objects.lexicon import Lexicon, coco_lexicon, read_lexicon
from secondsight.objects.mentions import Mention, find_mentions, finished_part, word_count

COLUMNS = (
    "n",
    "hallucinated_captions",
    "mentions",
    "hallucinated_mentions",
    "named",
    "named_present",
    "present",
    "words",
)


@dataclass(frozen=True)
class CaptionDetail:
    """One caption: every recognised mention, and what it gets wrong.

    Attributes:
        image_id: The image.
        caption: The text that was scored.
        mentions: All recognised mentions in order.
        present: The objects that the image shows.
    """

    image_id: str
    caption: str
    mentions: tuple[Mention, ...]
    present: frozenset[str]

    @property
    def hallucinated(self) -> tuple[Mention, ...]:
        """The mentions of objects that the image does not show."""
        return tuple(mention for mention in self.mentions if mention.object not in self.present)

    def counts(self) -> dict[str, float]:
        """The additive counts (`COLUMNS`)."""
        named = {mention.object for mention in self.mentions}
        return {
            "n": 1,
            "hallucinated_captions": bool(self.hallucinated),
            "mentions": len(self.mentions),
            "hallucinated_mentions": len(self.hallucinated),
            "named": len(named),
            "named_present": len(named & self.present),
            "present": len(self.present),
            "words": word_count(self.caption),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; character spans are ``[start, end)`` in ``caption``."""
        named = {mention.object for mention in self.mentions}
        return {
            "image_id": self.image_id,
            "caption": self.caption,
            "mentions": [self._mention(mention) for mention in self.mentions],
            "hallucinated": [self._mention(mention) for mention in self.hallucinated],
            "present": sorted(self.present),
            "missed": sorted(self.present - named),
        }

    def _mention(self, mention: Mention) -> dict[str, Any]:
        return {
            "start": mention.start,
            "end": mention.end,
            "text": mention.text,
            "object": mention.object,
            "hallucinated": mention.object not in self.present,
        }


@dataclass(frozen=True)
class ChairResult:
    """The CHAIR score of a set of captions; all but lengths and n are fractions in [0, 1].

    Attributes:
        chair_s: Share of captions with at least one absent object (lower is better).
        chair_i: Share of mentions that are of absent objects (lower is better).
        recall: Of all objects shown, the share that the caption names.
        precision: Of all distinct objects named, the share that is shown.
        f1: Harmonic mean of precision and recall.
        mean_length: Words per caption.
        n: Captions.
        captions: The detail.
        warnings: Counted problems of lenient runs.
    """

    chair_s: float
    chair_i: float
    recall: float
    precision: float
    f1: float
    mean_length: float
    n: int
    captions: tuple[CaptionDetail, ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the keys that the documentation names."""
        return {
            **{
                name: getattr(self, name)
                for name in ("chair_s", "chair_i", "recall", "precision", "f1", "mean_length", "n")
            },
            "captions": [caption.to_dict() for caption in self.captions],
            **({"warnings": list(self.warnings)} if self.warnings else {}),
        }


def chair_metrics(sums: Mapping[str, Array]) -> dict[str, Array]:
    """CHAIR's metrics from summed counts."""
    precision = ratio(sums["named_present"], sums["named"])
    recall = ratio(sums["named_present"], sums["present"])
    return {
        "chair_s": ratio(sums["hallucinated_captions"], sums["n"]),
        "chair_i": ratio(sums["hallucinated_mentions"], sums["mentions"]),
        "recall": recall,
        "precision": precision,
        "f1": harmonic(precision, recall),
        "mean_length": ratio(sums["words"], sums["n"]),
        "n": np.asarray(sums["n"]),
    }


def judge_caption(
    image_id: str, caption: str, present: frozenset[str], lexicon: Lexicon
) -> CaptionDetail:
    """Finds what one caption names."""
    return CaptionDetail(image_id, caption, tuple(find_mentions(caption, lexicon)), present)


def _drop_unfinished(caption: str, finish_reason: object) -> str:
    """The caption without a last sentence that the length limit cut off.

    Without a finish reason in the record, a text that does not end a sentence counts as cut.
    """
    cut = finish_reason == "length" if finish_reason is not None else True
    return finished_part(caption) if cut else caption


def score_chair(
    answers: PathLike,
    instances: PathLike,
    captions: PathLike | None = None,
    synonyms: PathLike | None = None,
    *,
    drop_unfinished: bool = False,
    lenient: bool = False,
) -> ChairResult:
    """Scores captions that anyone's code produced.

    Args:
        answers: JSON lines of ``image_id`` and ``caption`` (and ``finish_reason``, if known).
        instances: A COCO-format instances file.
        captions: A COCO captions file of references; what they name counts as shown.
        synonyms: A synonym file in the official format, instead of the built-in table.
        drop_unfinished: Ignore a last sentence that the length limit cut off.
        lenient: Leave out bad records with a counted warning instead of raising.

    Raises:
        DataError: Unreadable files, malformed lines, ids of unknown images.
    """
    problems = Problems(lenient=lenient)
    lexicon = read_lexicon(synonyms) if synonyms is not None else coco_lexicon()
    truth = read_ground_truth(instances, lexicon, problems, captions)
    details: list[CaptionDetail] = []
    for record in read_records(answers, problems):
        image = field(record, ("image_id",), problems)
        caption = field(record, ("caption",), problems)
        if image is None or caption is None:
            continue
        present = truth.objects.get(str(image))
        if present is None:
            problems.add(
                "unknown image_id",
                f"{record.where}: image_id {image!r} is not in {instances}",
            )
            continue
        text = str(caption)
        if drop_unfinished:
            text = _drop_unfinished(text, record.data.get("finish_reason"))
        details.append(judge_caption(str(image), text, present, truth.lexicon))
    warnings = problems.settle()
    if not details:
        raise DataError(f"{answers}: holds no usable caption")
    return chair_result(details, warnings)


def chair_result(details: Sequence[CaptionDetail], warnings: tuple[str, ...] = ()) -> ChairResult:
    """The score of captions already judged."""
    columns = from_rows([detail.counts() for detail in details], COLUMNS)
    totals = {name: np.asarray(values.sum()) for name, values in columns.items()}
    values = {name: float(value) for name, value in chair_metrics(totals).items()}
    return ChairResult(
        chair_s=values["chair_s"],
        chair_i=values["chair_i"],
        recall=values["recall"],
        precision=values["precision"],
        f1=values["f1"],
        mean_length=values["mean_length"],
        n=len(details),
        captions=tuple(details),
        warnings=warnings,
    )


@register
class Chair(Benchmark):
    """Captions judged by CHAIR."""

    name = "chair"
    title = "CHAIR"
    primary = "chair_i"
    higher_is_better = False
    max_new_tokens = 128
    headline = ("chair_i", "recall", "mean_length", "chair_s", "f1")
    question = "Please describe this image in detail."

    def __init__(self) -> None:
        self._lexicon = coco_lexicon()
        self._synonyms: str | None = None

    def load(self, source: Source, problems: Problems) -> list[Item]:
        """One item per image of the instances file (or of the sticker scenes)."""
        if source.synonyms is not None:
            self._lexicon = read_lexicon(source.synonyms)
            self._synonyms = text_hash(read_text(source.synonyms))
        if source.dataset is not None:
            from secondsight.benchmarks.sticker_source import sticker_scenes

            scenes = sticker_scenes(source)
            truth = ground_truth(scenes.instances, self._lexicon, problems)
            images: Mapping[str, Any] = {
                image: scenes.by_file[file] for image, file in truth.files.items()
            }
        else:
            instances, folder = source.need("instances"), source.need("images")
            truth = read_ground_truth(instances, self._lexicon, problems, source.captions)
            images = {image: image_file(folder, name) for image, name in truth.files.items()}
        self._lexicon = truth.lexicon
        return self._items(truth, images, source.prompt or self.question)

    def _items(self, truth: GroundTruth, images: Mapping[str, Any], question: str) -> list[Item]:
        return [
            Item(
                id=image,
                image_id=image,
                image=images[image],
                question=question,
                truth={"present": sorted(truth.objects[image])},
            )
            for image in truth.objects
            if image in images
        ]

    def count(self, items: Sequence[Item], texts: Sequence[str]) -> Counts:
        """Counts per caption."""
        rows = [
            judge_caption(
                item.image_id, text, frozenset(item.truth["present"]), self._lexicon
            ).counts()
            for item, text in zip(items, texts, strict=True)
        ]
        return Counts(from_rows(rows, COLUMNS))

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """CHAIR's metrics."""
        return chair_metrics(sums)

    def scoring(self) -> Mapping[str, Any]:
        """The synonyms, by their hash; None for the built-in ones."""
        return {"synonyms_sha256": self._synonyms}
