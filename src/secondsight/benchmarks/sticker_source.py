"""StickerScenes as a benchmark's items: no download, and the truth is exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from secondsight.benchmarks.base import Item, Source
from secondsight.benchmarks.pope_questions import build_pope_questions
from secondsight.benchmarks.stickers import (
    SPLIT_SIZES,
    TASKS,
    Scene,
    file_name,
    instances_document,
    make_scene,
    mme_pair,
    render,
)
from secondsight.benchmarks.stickers.annotations import image_id
from secondsight.benchmarks.stickers.catalog import BY_NAME, CATEGORIES
from secondsight.errors import UserError, nearest

DATASET = "stickers"
SCENES = 100
"""Scenes without a limit: enough to see the method work, within minutes on two cores."""


@dataclass(frozen=True)
class StickerScenes:
    """Drawn scenes and their truth.

    Attributes:
        scenes: The scenes.
        instances: A COCO instances document.
        by_file: File name in `instances` to the image.
    """

    scenes: tuple[Scene, ...]
    instances: Mapping[str, Any]
    by_file: Mapping[str, Image.Image]


def sticker_scenes(source: Source) -> StickerScenes:
    """Draws the first scenes of a split.

    Raises:
        UserError: Another dataset, an unknown split, or a limit below 1.
    """
    if source.dataset != DATASET:
        raise UserError(f"No dataset is called {source.dataset!r}.{nearest('', [DATASET])}")
    if source.split not in SPLIT_SIZES:
        raise UserError(f"No split is called {source.split!r}.{nearest(source.split, SPLIT_SIZES)}")
    wanted = SCENES if source.limit is None else source.limit
    size = SPLIT_SIZES[source.split]
    count = wanted if size is None else min(wanted, size)
    scenes = tuple(make_scene(source.split, index) for index in range(count))
    drawings = [render(scene) for scene in scenes]
    return StickerScenes(
        scenes,
        instances_document(scenes, drawings),
        {file_name(scene): drawing.image for scene, drawing in zip(scenes, drawings, strict=True)},
    )


def sticker_pope_items(source: Source) -> list[Item]:
    """POPE questions about the scenes: those of the whole split, whatever the limit."""
    drawn = sticker_scenes(source)
    asked = build_pope_questions(
        _shown_in_split(source.split, least=len(drawn.scenes)),
        strategy=source.strategy,
        per_image=source.per_image,
        seed=0,
    )
    return [
        Item(
            id=str(question["question_id"]),
            image_id=str(question["image"]),
            image=drawn.by_file[question["image"]],
            question=str(question["text"]),
            truth={"label": str(question["label"])},
        )
        for question in asked
        if question["image"] in drawn.by_file
    ]


def _shown_in_split(split: str, least: int) -> dict[str, Any]:
    """What all scenes of a split show, as COCO instances without boxes; nothing is drawn."""
    scenes = [make_scene(split, index) for index in range(max(least, SPLIT_SIZES[split] or 0))]
    return {
        "images": [{"id": image_id(scene), "file_name": file_name(scene)} for scene in scenes],
        "categories": [{"id": c.id, "name": c.name} for c in CATEGORIES],
        "annotations": [
            {"image_id": image_id(scene), "category_id": BY_NAME[name].id}
            for scene in scenes
            for name in scene.categories
        ],
    }


def sticker_mme_items(source: Source) -> list[Item]:
    """MME's pairs about the scenes, task by task."""
    drawn = sticker_scenes(source)
    items: list[Item] = []
    for task in TASKS:
        for scene in drawn.scenes:
            pair = mme_pair(scene, task)
            name = file_name(scene)
            for question, label in zip(pair or (), ("yes", "no"), strict=False):
                items.append(
                    Item(
                        id=f"{task}/{name}/{label}",
                        image_id=name,
                        image=drawn.by_file[name],
                        question=question,
                        truth={"task": task, "label": label},
                    )
                )
    return items
