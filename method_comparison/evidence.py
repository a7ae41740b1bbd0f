"""What the single views know: do made-up objects follow the prior, and do the views tell?

All views are asked about answers that regular decoding gave. For the words that name an object,
and for yes or no, each view's probability is kept; then it can be seen whether a view, and the
score that a method makes of it, tells true from made up better than the original view alone,
which is all that the controls go by.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tables import BATCH, NEW_TOKENS

from secondsight import Answer, Method, Model, load
from secondsight.benchmarks import Item, Problems, create
from secondsight.benchmarks.statistics import RESAMPLES, resample_images
from secondsight.benchmarks.task import first_images
from secondsight.files import write_atomic
from secondsight.methods import M3ID, VCD, Ritual, RitualPlus
from secondsight.methods.base import plausibility
from secondsight.methods.m3id import contrast_weight
from secondsight.methods.ritual import chosen_transform
from secondsight.objects.lexicon import coco_lexicon
from secondsight.objects.mentions import find_mentions
from secondsight.presets import preset
from secondsight.sample import Sample
from secondsight.views import NoImage, Noised, Original, Transformed, View

ORIGINAL, TRANSFORMED, NOISED, NO_IMAGE = "original", "transformed", "noised", "no image"
CONSULTED = 20
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Witness(Method):
    """Regular decoding, beside which all other views are asked about each token."""

    beta: float | None = plausibility(None)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The original, and the views of RITUAL, VCD and M3ID."""
        return (Original(), Transformed(), Noised(), NoImage())

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """The original's logits."""
        return logits[0]


def gather(split: str, scenes: int, out: Path) -> None:
    """Asks the views about one split and writes ``evidence-SPLIT.json``."""
    model = load()
    path = out / f"evidence-{split}.json"
    what = {
        "split": split,
        "scenes": scenes,
        "weights": model.identity,
    }
    if path.exists() and json.loads(path.read_text())["what"] == what:
        return
    captions, questions = items_of("chair", split, scenes), items_of("pope", split, scenes)
    found = {
        "what": what,
        "mentions": _mentions(model, captions),
        "answers": _answers(model, questions),
        "consulted": _consulted(model, captions),
    }
    write_atomic(path, json.dumps(found) + "\n")


def items_of(benchmark: str, split: str, scenes: int) -> list[Item]:
    """What a benchmark asks about the first scenes of a split."""
    made = create(benchmark, {"dataset": "stickers", "split": split})
    return first_images(made.load(Problems(lenient=False)).items, scenes)


def _asked(
    model: Model, items: Sequence[Item], task: str, temperature: float
) -> list[tuple[Item, Answer]]:
    protocol = preset("llava-official")
    answers = model.answer_batch(
        [
            Sample(item.shown(), protocol.question(item.question, task), id=item.id)
            for item in items
        ],
        Witness(),
        temperature=temperature,
        max_new_tokens=NEW_TOKENS[task],
        batch_size=BATCH,
        evidence=True,
    )
    return list(zip(items, answers, strict=True))


def _mentions(model: Model, items: Sequence[Item]) -> list[dict[str, Any]]:
    """Objects named by regular sampling, each with every view's log-probability of its words."""
    found = []
    for item, answer in _asked(model, items, "chair", 1.0):
        ends = [len(model.tokenizer.decode(answer.ids[:n])) for n in range(len(answer.ids) + 1)]
        for mention in find_mentions(answer.text, coco_lexicon()):
            places = [
                place
                for place, (start, end) in enumerate(pairwise(ends))
                if start < mention.end and end > mention.start
            ]
            tokens = [(answer.evidence or ())[place] for place in places]
            found.append(
                {
                    "image": item.image_id,
                    "object": mention.object,
                    "true": mention.object in item.truth["present"],
                    "step": places[0],
                    "views": {
                        view: sum(_log(token.view_probabilities[view]) for token in tokens)
                        for view in tokens[0].view_probabilities
                    },
                }
            )
    return found


def _answers(model: Model, items: Sequence[Item]) -> list[dict[str, Any]]:
    """Greedy yes/no answers, each with every view's probability of yes."""
    found = []
    for item, answer in _asked(model, items, "pope", 0.0):
        said = next(
            (t for t in answer.evidence or () if t.text.strip().lower() in ("yes", "no")), None
        )
        if said is None:
            continue
        word = said.text.strip().lower()
        found.append(
            {
                "image": item.image_id,
                "label": item.truth["label"],
                "said": word,
                "views": {
                    view: share if word == "yes" else 1 - share
                    for view, share in said.view_probabilities.items()
                },
            }
        )
    return found


def _consulted(model: Model, items: Sequence[Item]) -> dict[str, int]:
    """RITUAL+ asks the model for a transform: how many of its replies name one."""
    asked = [Sample(item.shown(), item.question, id=item.id) for item in items[:CONSULTED]]
    replies = model.answer_batch(
        [Sample(one.image, str(RitualPlus().ask_first(one))) for one in asked],
        max_new_tokens=32,
        batch_size=BATCH,
    )
    named = sum(chosen_transform(reply.text) is not None for reply in replies)
    return {"asked": len(replies), "named": named}


def _log(probability: float) -> float:
    return math.log(max(probability, 1e-30))


#: From fewer images than these, a share gets no interval.
FEW = 10


@dataclass(frozen=True)
class Figure:
    """A share or an area under the curve, with its 95% interval over images.

    A share of things from few images has none, but says how many things there were: resampling two
    images that agree would make an interval without width.
    """

    value: float
    low: float | None = None
    high: float | None = None
    things: int | None = None

    def above(self, bound: float) -> bool:
        """Whether the whole interval lies above a bound."""
        return self.low is not None and self.low > bound

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.2f}" + (f" (of {self.things})" if self.things else "")
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def method_scores(mention: Mapping[str, Any]) -> dict[str, float]:
    """What each method makes of the views' log-probabilities of a mention."""
    views = mention["views"]
    original, transformed = views[ORIGINAL], views[TRANSFORMED]
    contrast = original - views[NO_IMAGE]
    return {
        "original alone": original,
        "ritual": original + Ritual().alpha * transformed,
        "vcd": original + VCD().alpha * (original - views[NOISED]),
        "m3id": original + contrast_weight(M3ID().decay, mention["step"]) * contrast,
        "contrast with no image": contrast,
        "contrast with noise": original - views[NOISED],
    }


def telling(mentions: Sequence[Mapping[str, Any]]) -> dict[str, Figure] | None:
    """How often a true mention has a higher score than a made-up one (area under the curve).

    Returns:
        A figure for each score of `method_scores`, and for each method the difference to the
        original alone under ``method - original``; None without mentions of both kinds.
    """
    true = [mention for mention in mentions if mention["true"]]
    false = [mention for mention in mentions if not mention["true"]]
    if not true or not false:
        return None
    high, low = [method_scores(m) for m in true], [method_scores(m) for m in false]
    names = list(high[0])
    values = {n: ([one[n] for one in high], [one[n] for one in low]) for n in names}
    place = {image: n for n, image in enumerate(dict.fromkeys(m["image"] for m in mentions))}
    where = [[place[m["image"]] for m in group] for group in (true, false)]

    def areas(weights: Array) -> Array:
        found = np.stack([areas_under_curve(weights, values[n], where) for n in names])
        methods = found[[names.index(n) for n in ("ritual", "vcd", "m3id")]]
        return np.concatenate([found, methods - found[0]])

    keys = [*names, *(f"{n} - original" for n in ("ritual", "vcd", "m3id"))]
    return figures(areas, len(place), keys)


def prior_shares(mentions: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """How often the text alone finds the object's name likelier than with the picture."""
    found = {}
    for name, wanted in (("true", True), ("made up", False)):
        group = [m for m in mentions if m["true"] is wanted]
        if group:
            values = [m["views"][NO_IMAGE] > m["views"][ORIGINAL] for m in group]
            found[name] = _mean(values, [m["image"] for m in group])
    return found


def prior_of_errors(answers: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """How often the text alone leans to the answer that was given, among right and wrong ones."""
    found = {}
    for name, right in (("right", True), ("wrong", False)):
        group = [a for a in answers if (a["said"] == a["label"]) is right]
        if group:
            leans = [(a["views"][NO_IMAGE] > 0.5) == (a["said"] == "yes") for a in group]
            found[name] = _mean(leans, [a["image"] for a in group])
    return found


def _wins(high: Sequence[float], low: Sequence[float]) -> Array:
    one, two = np.array(high)[:, None], np.array(low)[None, :]
    return np.asarray((one > two) + 0.5 * (one == two), dtype=np.float64)


def _mean(values: Sequence[bool], images: Sequence[str]) -> Figure:
    place = {image: n for n, image in enumerate(dict.fromkeys(images))}
    where = [place[image] for image in images]
    of = np.array(values, dtype=np.float64)
    if len(place) < FEW:
        return Figure(float(of.mean()), things=len(values))

    def share(weights: Array) -> Array:
        drawn = weights[:, where]
        return np.asarray(drawn @ of / drawn.sum(axis=1))[None]

    return figures(share, len(place), ["share"])["share"]


def areas_under_curve(
    weights: Array, values: Sequence[Sequence[float]], where: Sequence[Sequence[int]]
) -> Array:
    """How often a value of the first group is higher than one of the second, of shape (rows,).

    Args:
        weights: Of the images, float64 of shape (rows, images).
        values: Of both groups.
        where: The image of each value.
    """
    one, other = (weights[:, list(places)] for places in where)
    wins = _wins(*values)
    pairs = one.sum(axis=1) * other.sum(axis=1)
    with np.errstate(invalid="ignore"):
        found = np.einsum("rt,tf,rf->r", one, wins, other, optimize=True) / pairs
    return np.nan_to_num(found, nan=0.5)


def figures(quantities: Any, images: int, names: Sequence[str]) -> dict[str, Figure]:
    """Quantities with their intervals over images.

    Args:
        quantities: Makes them, of shape (names, rows), of weights of shape (rows, images).
        images: How many images there are.
        names: What they are called.
    """
    values = quantities(np.ones((1, images)))[:, 0]
    spread = resample_images(quantities, images, resamples=RESAMPLES)
    if spread is None:
        return {name: Figure(float(v)) for name, v in zip(names, values, strict=True)}
    return {
        name: Figure(float(v), float(low), float(high))
        for name, v, low, high in zip(names, values, spread.low, spread.high, strict=True)
    }
