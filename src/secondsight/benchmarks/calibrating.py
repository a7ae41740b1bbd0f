"""What a model's yes and no mean: calibrations fitted on images whose objects are known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from secondsight.answer import Answer, Doubt
from secondsight.benchmarks.base import image_file
from secondsight.benchmarks.coco import instances_document
from secondsight.checking import Calibration, Calibrations, Signals, fit
from secondsight.checking.claims import NUMBERS
from secondsight.errors import DataError, UserError
from secondsight.files import PathLike
from secondsight.inference import Model
from secondsight.methods.checks import DOUBTFUL
from secondsight.objects.lexicon import Lexicon, coco_lexicon
from secondsight.request import Request
from secondsight.sample import Sample
from secondsight.settings import Settings

_NUMBERS: Final = {word: number for number, word in enumerate(NUMBERS, start=2)}
_SAME_COLOUR: Final = {"grey": "gray"}
_FEWEST: Final = 5
"""Statements that are made up, and such as are not, from which a calibration is fitted."""


@dataclass(frozen=True)
class Truth:
    """What an image shows.

    Attributes:
        counts: How many of each object.
        colours: The colours of each object, where they are known of all of that kind.
        crowded: Objects of which there are more than were counted.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    colours: Mapping[str, frozenset[str]] = field(default_factory=dict)
    crowded: frozenset[str] = frozenset()

    def denies(self, doubt: Doubt) -> bool | None:
        """Whether a statement is made up; None where that is not known."""
        there = self.counts.get(doubt.object, 0)
        if doubt.kind == "object" or not there:
            return not there
        said = doubt.text.lower()
        if doubt.kind == "count":
            number = _NUMBERS.get(said) or int(said)
            return None if doubt.object in self.crowded else number != there
        colours = self.colours.get(doubt.object)
        return None if colours is None else _SAME_COLOUR.get(said, said) not in colours


def truths(document: Mapping[str, Any], lexicon: Lexicon) -> dict[str, Truth]:
    """What the images of a COCO-format instances document show, by their ids.

    Args:
        document: The document; an annotation's ``attributes`` may have a ``color``.
        lexicon: Which words name which object.
    """
    names = {category["id"]: str(category["name"]) for category in document["categories"]}
    lexicon = lexicon.including(names.values())
    counts: dict[str, Counter[str]] = {str(one["id"]): Counter() for one in document["images"]}
    colours: dict[str, dict[str, set[str | None]]] = {image: {} for image in counts}
    crowded: dict[str, set[str]] = {image: set() for image in counts}
    for annotation in document["annotations"]:
        image = str(annotation["image_id"])
        name = lexicon.object_named(names[annotation["category_id"]])
        if name is None or image not in counts:
            continue
        counts[image][name] += 1
        if annotation.get("iscrowd"):
            crowded[image].add(name)
        colour = (annotation.get("attributes") or {}).get("color")
        same = _SAME_COLOUR.get(colour, colour) if colour else None
        colours[image].setdefault(name, set()).add(same)
    return {
        image: Truth(
            dict(counts[image]),
            {
                name: frozenset(one for one in found if one)
                for name, found in colours[image].items()
                if None not in found
            },
            frozenset(crowded[image]),
        )
        for image in counts
    }


def known_images(
    instances: PathLike | None, images: PathLike | None, question: str, limit: int
) -> tuple[list[Sample], list[Truth]]:
    """Images whose objects are known, and what they show.

    Args:
        instances: A COCO-format instances file; None for StickerScenes' validation scenes.
        images: The folder of its images.
        question: The instruction.
        limit: At most so many, the first ones.

    Raises:
        DataError: A file cannot be read, or a name leaves the folder.
        UserError: A folder is missing, or given beside StickerScenes.
    """
    document: Mapping[str, Any]
    sources: Mapping[str, Any]
    if instances is None:
        if images is not None:
            raise UserError("--images is the folder of the images of --instances.")
        from secondsight.benchmarks.sticker_source import sticker_images, sticker_instances

        document = sticker_instances("val")
        drawn = sticker_images("val")
        sources = {str(one["id"]): drawn[one["file_name"]] for one in document["images"]}
    else:
        if images is None:
            raise UserError("--instances needs --images, the folder of its images.")
        document = instances_document(instances)
        sources = {
            str(one["id"]): image_file(images, str(one.get("file_name", "")), str(instances))
            for one in document["images"]
        }
    found = truths(document, coco_lexicon())
    chosen = list(found)[:limit]
    samples = [
        Sample(source() if callable(source) else source, question, id=name)
        for name, source in ((name, sources[name]) for name in chosen)
    ]
    return samples, [found[name] for name in chosen]


@dataclass(frozen=True)
class Calibrated:
    """What was fitted, and on what.

    Attributes:
        calibrations: The calibrations.
        statements: By kind, how many statements there were, and how many of them made up.
    """

    calibrations: Calibrations
    statements: Mapping[str, tuple[int, int]]


def calibrate(
    model: Model,
    samples: Sequence[Sample],
    truth: Sequence[Truth],
    *,
    objects: str = "",
    controls: bool = False,
    settings: Settings | None = None,
    batch_size: int | Literal["auto"] = 8,
    advance: Callable[[int], None] = lambda count: None,
) -> Calibrated:
    """Describe images, ask about what is said, and fit what the answers mean.

    Args:
        model: The model; what calibrations it has play no part.
        samples: The images and instructions.
        truth: What each of them shows.
        objects: Whose names are looked for; see `secondsight.objects.finding.finder`.
        controls: Whether the controls ``check-token`` and ``check-blank`` are fitted as well, each
            so that it doubts as many objects as asking does.
        settings: How the descriptions are written; greedy, at most 512 tokens if left out.
        batch_size: How many are written at a time.
        advance: Called with how many more descriptions are done.

    Raises:
        DataError: There are too few statements, or none that are made up.
    """
    settings = settings or Settings(max_new_tokens=512)
    specs = ["check", "check-blank"] if controls else ["check"]
    found: dict[str, list[tuple[Doubt, bool]]] = {spec: [] for spec in specs}
    for spec in specs:
        text = f"{spec}:repair=none"
        requests = [Request(one, text, settings, doubts=objects or True) for one in samples]
        answers: dict[int, Answer] = {}
        for number, answer in model.answers(requests, batch_size=batch_size):
            answers[number] = answer
            advance(1)
        for number in range(len(samples)):  # in order: a sum depends on it
            known = [
                (doubt, denied)
                for doubt in answers[number].doubts or ()
                if (denied := truth[number].denies(doubt)) is not None
            ]
            found[spec] += known
    return _fitted(found)


def _fitted(found: Mapping[str, Sequence[tuple[Doubt, bool]]]) -> Calibrated:
    made: dict[str, Calibration] = {}
    statements: dict[str, tuple[int, int]] = {}
    for kind in ("object", "count", "colour"):
        known = [
            (_signals(doubt), denied) for doubt, denied in found["check"] if doubt.kind == kind
        ]
        wrong = sum(denied for _, denied in known)
        statements[kind] = (len(known), wrong)
        if min(wrong, len(known) - wrong) >= _FEWEST:
            made[kind] = fit(*map(list, zip(*known, strict=True)))
    if "object" not in made:
        named, wrong = statements["object"]
        raise DataError(
            f"The descriptions name {named} objects, {wrong} of which are not there: a calibration "
            f"needs {_FEWEST} of either kind. Give more images."
        )
    if "check-blank" in found:
        objects = [pair for pair in found["check"] if pair[0].kind == "object"]
        doubted = sum(made["object"](_signals(doubt)) > DOUBTFUL for doubt, _ in objects)
        token = [(Signals(token=doubt.token), denied) for doubt, denied in objects]
        blank = [(Signals(doubt.refusal), denied) for doubt, denied in found["check-blank"]]
        made |= {"token": _as_many(token, doubted), "blank": _as_many(blank, doubted)}
    return Calibrated(Calibrations(made), statements)


def _signals(doubt: Doubt) -> Signals:
    return Signals(doubt.refusal, doubt.views, doubt.token)


def _as_many(known: Sequence[tuple[Signals, bool]], doubted: int) -> Calibration:
    """A calibration under which so many statements are doubtful."""
    fitted = fit(*map(list, zip(*known, strict=True)))
    scores = sorted((_logit(fitted(signals)) for signals, _ in known), reverse=True)
    if not 0 < doubted < len(scores):
        return fitted
    edge = (scores[doubted - 1] + scores[doubted]) / 2
    return replace(fitted, bias=fitted.bias - edge + _logit(DOUBTFUL))


def _logit(probability: float) -> float:
    inside = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(inside / (1 - inside))
