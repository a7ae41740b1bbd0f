"""How well doubts tell what is made up from what is there, and whether they mean what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from evidence import Array, Figure, areas_under_curve, figures, items_of
from tables import BATCH, CHECKED_SCENES, NEW_TOKENS, SPLITS

from secondsight import Sample, load
from secondsight.files import write_atomic
from secondsight.presets import preset

SCORES = {
    "probability": "calibrated",
    "refusal": "its own no",
    "token": "the words' own probability",
}
"""What is doubted by, and what it is called."""

_BINS = 10


def gather(split: str, out: Path) -> None:
    """Doubts regular decoding's captions of one split, and writes ``doubts-SPLIT.json``."""
    model = load()
    path = out / f"doubts-{split}.json"
    what = {
        "split": split,
        "scenes": CHECKED_SCENES[split],
        "weights": model.identity,
        "calibrations": model.calibrations.digest,
    }
    if path.exists() and json.loads(path.read_text())["what"] == what:
        return
    items = items_of("chair", split, CHECKED_SCENES[split])
    protocol = preset("llava-official")
    answers = model.answer_batch(
        [
            Sample(item.shown(), protocol.question(item.question, "chair"), id=item.id)
            for item in items
        ],
        "check:repair=none,attributes=false",
        max_new_tokens=NEW_TOKENS["check"],
        batch_size=BATCH,
    )
    mentions = [
        {
            "image": item.image_id,
            "true": doubt.object in item.truth["present"],
            "probability": doubt.probability,
            "refusal": doubt.refusal,
            "token": 1 - (doubt.token or 0.0),
        }
        for item, answer in zip(items, answers, strict=True)
        for doubt in answer.doubts or ()
    ]
    write_atomic(path, json.dumps({"what": what, "mentions": mentions}) + "\n")


def doubts(out: Path) -> list[str]:
    """What was gathered, as a table with its heading; nothing where nothing was."""
    paths = {split: out / f"doubts-{split}.json" for split in SPLITS}
    mentions = {
        split: json.loads(path.read_text())["mentions"]
        for split, path in paths.items()
        if path.exists()
    }
    if not mentions:
        return []
    return [
        "**Does it tell?** How often a made-up name of regular decoding's captions is doubted more "
        "than one that is there (area under the curve; 0.5: by chance), by what it is doubted by; "
        "and how far the probabilities are from the shares, in tenths:",
        "\n".join(table(mentions)),
    ]


def table(mentions: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The areas under the curve and the error of the calibration, by split."""
    made_up = {
        split: sum(not mention["true"] for mention in one) for split, one in mentions.items()
    }
    rows = {
        "names, of them made up": [
            f"{len(one)}, {made_up[split]}" for split, one in mentions.items()
        ]
    }
    for score, title in SCORES.items():
        rows[title] = [str(telling(one, score)) for one in mentions.values()]
    rows["error of the calibration"] = [
        f"{calibration_error(one):.3f}" for one in mentions.values()
    ]
    return [
        f"| | {' | '.join(f'`{split}`' for split in mentions)} |",
        "| --- |" + " --- |" * len(mentions),
        *(f"| {title} | {' | '.join(cells)} |" for title, cells in rows.items()),
    ]


def telling(mentions: Sequence[Mapping[str, Any]], score: str) -> Figure | str:
    """How often a made-up name has a higher score than a true one (area under the curve)."""
    groups = [[m for m in mentions if m["true"] is wanted] for wanted in (False, True)]
    if not all(groups):
        return "-"
    place = {image: n for n, image in enumerate(dict.fromkeys(m["image"] for m in mentions))}
    values = [[one[score] for one in group] for group in groups]
    where = [[place[one["image"]] for one in group] for group in groups]

    def areas(weights: Array) -> Array:
        return areas_under_curve(weights, values, where)[None]

    return figures(areas, len(place), [score])[score]


def calibration_error(mentions: Sequence[Mapping[str, Any]]) -> float:
    """Mean distance of a tenth's mean probability from its share of made-up names."""
    likely = np.array([one["probability"] for one in mentions])
    made_up = np.array([not one["true"] for one in mentions], dtype=float)
    tenth = np.minimum((likely * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float((likely - made_up)[tenth == number].sum())) for number in range(_BINS)]
    return sum(gaps) / max(len(mentions), 1)
