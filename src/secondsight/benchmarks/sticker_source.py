"""StickerScenes as a benchmark's items: no download, and the truth is exact.

The whole split is asked about; an image is drawn when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from PIL import Image

from secondsight.benchmarks.pope_questions import build_pope_questions
from secondsight.benchmarks.stickers import (
    SPLIT_SIZES,
    TASKS,
    Scene,
    file_name,
    make_scene,
    mme_pair,
    render,
)
from secondsight.benchmarks.stickers.annotations import image_id
from secondsight.benchmarks.stickers.catalog import BY_NAME, CATEGORIES
from secondsight.benchmarks.task import Item

_KEPT = 256
"""Images that are kept for the next method; each takes a third of a megabyte."""


@lru_cache
def _scenes(split: str) -> tuple[Scene, ...]:
    return tuple(make_scene(split, index) for index in range(SPLIT_SIZES[split] or 0))


@lru_cache(_KEPT)
def _draw(split: str, index: int) -> Image.Image:
    return render(_scenes(split)[index]).image


def sticker_images(split: str) -> Mapping[str, Callable[[], Image.Image]]:
    """What draws each image of a split, by file name."""
    return {
        file_name(scene): partial(_draw, split, index) for index, scene in enumerate(_scenes(split))
    }


def sticker_instances(split: str) -> dict[str, Any]:
    """What all scenes of a split show, as COCO instances without boxes; nothing is drawn."""
    scenes = _scenes(split)
    return {
        "images": [{"id": image_id(scene), "file_name": file_name(scene)} for scene in scenes],
        "categories": [{"id": c.id, "name": c.name} for c in CATEGORIES],
        "annotations": [
            {
                "image_id": image_id(scene),
                "category_id": BY_NAME[item.category].id,
                "attributes": {"color": item.colour},
            }
            for scene in scenes
            for item in scene.objects
        ],
    }


def sticker_pope_items(split: str, strategy: str, per_image: int) -> list[Item]:
    """POPE's questions about the scenes that show enough different objects."""
    images = sticker_images(split)
    asked = build_pope_questions(
        sticker_instances(split), strategy=strategy, per_image=per_image, seed=0
    )
    return [
        Item(
            id=str(question["question_id"]),
            image_id=str(question["image"]),
            image=images[question["image"]],
            question=str(question["text"]),
            truth={"label": str(question["label"])},
        )
        for question in asked
    ]


def sticker_mme_items(split: str) -> list[Item]:
    """MME's pairs about the scenes, task by task."""
    images = sticker_images(split)
    items: list[Item] = []
    for task in TASKS:
        for scene in _scenes(split):
            pair = mme_pair(scene, task)
            name = file_name(scene)
            for question, label in zip(pair or (), ("yes", "no"), strict=False):
                items.append(
                    Item(
                        id=f"{task}/{name}/{label}",
                        image_id=name,
                        image=images[name],
                        question=question,
                        truth={"task": task, "label": label},
                        group=task,
                    )
                )
    return items
