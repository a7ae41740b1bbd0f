"""CHAIR: which objects a caption names, and which of them the image does not show.

Rohrbach et al. 2018, arXiv 1809.02156. CHAIRs: share of captions that name an absent object.
CHAIRi: share of mentions that are of absent objects. Beside it recall, because a caption that
says less errs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from secondsight.benchmarks.base import Benchmark, image_file
from secondsight.benchmarks.coco import GroundTruth, ground_truth, read_ground_truth
from secondsight.benchmarks.counts import Array, Counts, from_rows, harmonic, ratio
from secondsight.benchmarks.options import option
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.registry import register
from secondsight.benchmarks.scoring import score
from secondsight.benchmarks.sticker_splits import DATASET, SPLITS, USUAL
from secondsight.benchmarks.task import (
    CaptionCounts,
    Item,
    ItemImage,
    Metric,
    Response,
    Scorer,
    Task,
)
from secondsight.files import PathLike, read_text, text_hash
from secondsight.objects.lexicon import Lexicon, coco_lexicon, read_lexicon
from secondsight.objects.mentions import (
    Mention,
    find_mentions,
    finished_part,
    first_words_naming,
    word_count,
)

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


def _without_unfinished(response: Response) -> str:
    """The caption without a last sentence that the length limit cut off.

    Without a finish reason, a text that does not end a sentence counts as cut.
    """
    cut = response.finish_reason == "length" if response.finish_reason is not None else True
    return finished_part(response.text) if cut else response.text


@dataclass(frozen=True)
class ChairScorer(Scorer):
    """Judges captions; an item's truth has the objects ``present``.

    Attributes:
        lexicon: Names of objects.
        drop_unfinished: Whether a last sentence that the length limit cut off is left out.
    """

    caption_counts: ClassVar[CaptionCounts] = CaptionCounts(
        "n", "words", "mentions", "hallucinated_mentions"
    )

    lexicon: Lexicon
    drop_unfinished: bool = False

    def judged_text(self, response: Response) -> str:
        """The caption, without a sentence that was cut off where such are left out."""
        return _without_unfinished(response) if self.drop_unfinished else response.text

    def cut(self, text: str, words: int) -> str:
        """The beginning of a caption, with no name that is none in the whole."""
        return first_words_naming(text, words, self.lexicon)

    def judge(self, item: Item, response: Response) -> CaptionDetail:
        """Finds what one caption names."""
        caption = self.judged_text(response)
        present = frozenset(item.truth["present"])
        return CaptionDetail(
            item.image_id, caption, tuple(find_mentions(caption, self.lexicon)), present
        )

    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """Counts per caption."""
        rows = [self.judge(*pair).counts() for pair in zip(items, responses, strict=True)]
        return Counts(from_rows(rows, COLUMNS))

    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """CHAIR's metrics."""
        return chair_metrics(sums)

    def result(
        self,
        items: Sequence[Item],
        responses: Sequence[Response],
        counts: Counts,
        warnings: tuple[str, ...] = (),
    ) -> ChairResult:
        """The score of one run's captions."""
        values = {name: float(value) for name, value in chair_metrics(counts.totals()).items()}
        values.pop("n")
        details = tuple(map(self.judge, items, responses))
        return ChairResult(**values, n=len(items), captions=details, warnings=warnings)


METRICS = (
    Metric("chair_i", "CHAIRi", better="less", shown=True, panel=True, trade="upward"),
    Metric("recall", shown=True, trade="across"),
    Metric("mean_length", unit="words", better=None, shown=True, panel=True),
    Metric("chair_s", "CHAIRs", better="less", shown=True),
    Metric("f1", shown=True),
    Metric("precision"),
)


@register("chair")
@dataclass(frozen=True)
class Chair(Benchmark):
    """Captions judged by CHAIR: objects that they name and the images do not show."""

    title: ClassVar[str] = "CHAIR"

    instances: PathLike | None = option(None, "COCO-format instances file", kind=Path)
    images: PathLike | None = option(None, "folder of the images", kind=Path)
    dataset: str | None = option(
        None, "a built-in dataset instead of files", kind=str, choices=(DATASET,)
    )
    split: str = option("test", "its split", choices=SPLITS)
    captions: PathLike | None = option(
        None, "COCO captions file; what the references name counts as shown", kind=Path
    )
    synonyms: PathLike | None = option(
        None, "synonym file in the official format, to compare with papers", kind=Path
    )
    drop_unfinished: bool = option(False, "leave out a last sentence that the length limit cut off")
    prompt: str = option("Please describe this image in detail.", "the instruction")

    def load(self, problems: Problems) -> Task:
        """One item per image of the instances file, or of the sticker scenes."""
        lexicon = coco_lexicon() if self.synonyms is None else read_lexicon(self.synonyms)
        images: Mapping[str, ItemImage]
        if self.dataset is not None:
            self.refuse_beside(f"--dataset {self.dataset}", ("instances", "images", "captions"))
            from secondsight.benchmarks.sticker_source import sticker_images, sticker_instances

            truth = ground_truth(sticker_instances(self.split), lexicon, problems)
            drawn = sticker_images(self.split)
            images = {image: drawn[file] for image, file in truth.files.items()}
            name, usual = f"{self.dataset}/{self.split}", USUAL
        else:
            self.refuse_beside("--instances", ("split",))
            instances = self.need("instances")
            truth = read_ground_truth(instances, lexicon, problems, self.captions)
            images = {
                image: image_file(self.images, file, str(instances))
                for image, file in truth.files.items()
            }
            name, usual = Path(instances).name, None
        hashes = {
            f"{kind}_sha256": None if path is None else text_hash(read_text(path))
            for kind, path in (("synonyms", self.synonyms), ("captions", self.captions))
        }
        return Task(
            dataset=name,
            items=self._items(truth, images),
            scorer=ChairScorer(truth.lexicon, self.drop_unfinished),
            metrics=METRICS,
            max_new_tokens=128,
            scoring={**hashes, "drop_unfinished": self.drop_unfinished},
            own_questions=False,
            usual_images=usual,
        )

    def _items(self, truth: GroundTruth, images: Mapping[str, ItemImage]) -> tuple[Item, ...]:
        return tuple(
            Item(
                id=image,
                image_id=image,
                image=images.get(image),
                question=self.prompt,
                truth={"present": sorted(present)},
                group=image,  # any part of the images may be captioned
                aliases=(truth.files[image],) if image in truth.files else (),
            )
            for image, present in truth.objects.items()
        )


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
        answers: JSON lines of ``image_id`` and ``caption`` (and ``finish_reason``, if known), or
            another form that is known.
        instances: A COCO-format instances file.
        captions: A COCO captions file of references; what they name counts as shown.
        synonyms: A synonym file in the official format, instead of the built-in table.
        drop_unfinished: Leave out a last sentence that the length limit cut off: where the finish
            reason is ``length``, or is not known and the text does not end a sentence.
        lenient: Leave out bad records with a counted warning instead of raising.

    Raises:
        DataError: Unreadable files, malformed lines, ids of unknown images, an image twice.
    """
    chair = Chair(
        instances=instances, captions=captions, synonyms=synonyms, drop_unfinished=drop_unfinished
    )
    result: ChairResult = score(chair, answers, lenient=lenient).result  # type: ignore[assignment]
    return result
