"""Scenes that the server draws for the page: images whose truth is known, to try methods on."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from secondsight.benchmarks.stickers import SPLIT_SIZES, TASKS, Scene, make_scene, mme_pair, render
from secondsight.objects.lexicon import coco_lexicon
from secondsight.objects.mentions import find_mentions
from secondsight.server.problems import ApiError

_SPLITS: Final = ("hard", "conflict")
"""Small, noisy, covered things; and what usually stands together, apart: what models get wrong."""

COUNT: Final = sum(SPLIT_SIZES[split] or 0 for split in _SPLITS)
"""How many scenes there are."""


@lru_cache(maxsize=64)
def described(index: int) -> dict[str, Any]:
    """A scene: its image, what is in it, and questions with their answers.

    Args:
        index: Which one, from 0.

    Raises:
        ApiError: 404: there are fewer.
    """
    scene = _scene(index)
    buffer = io.BytesIO()
    render(scene).image.save(buffer, "PNG")
    pairs = filter(None, (mme_pair(scene, task) for task in TASKS))
    return {
        "object": "secondsight.scene",
        "index": index,
        "image": f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}",
        "objects": [{"name": one, "count": len(scene.of(one))} for one in scene.categories],
        "questions": [
            {"text": text, "answer": answer}
            for pair in pairs
            for text, answer in zip(pair, ("yes", "no"), strict=True)
        ],
    }


def mentions(index: int, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """The objects that texts name, and whether they are in a scene.

    Args:
        index: Which scene.
        texts: Answers about it.

    Returns:
        For each text its mentions; `start` and `end` count characters.

    Raises:
        ApiError: 404: there is no such scene.
        UserError: The words that name objects need a package which is not installed.
    """
    scene, lexicon = _scene(index), coco_lexicon()
    there = {lexicon.object_named(one) or one for one in scene.categories}
    return [
        [
            {"start": one.start, "end": one.end, "name": one.object, "there": one.object in there}
            for one in find_mentions(text, lexicon)
        ]
        for text in texts
    ]


def _scene(index: int) -> Scene:
    if not 0 <= index < COUNT:
        raise ApiError(404, f"There are {COUNT} scenes, from 0.", code="scene_not_found")
    return make_scene(_SPLITS[index % len(_SPLITS)], index // len(_SPLITS))
