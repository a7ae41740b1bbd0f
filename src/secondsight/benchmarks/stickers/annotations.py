"""The truth about scenes, in COCO's formats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .captions import reference_captions
from .catalog import BY_NAME, CATEGORIES
from .render import Rendering, render
from .scene import Scene


def image_id(scene: Scene) -> int:
    """The scene's number in COCO-format files, from 1."""
    return scene.index + 1


def file_name(scene: Scene, suffix: str = "png") -> str:
    """The image's file name, which ends in the image id as COCO's do."""
    return f"stickers_{scene.split}_{image_id(scene):012d}.{suffix}"


def annotations_of(scene: Scene, drawn: Rendering) -> list[dict[str, Any]]:
    """COCO annotations of a drawn scene, without their ids.

    Boxes (x, y, width, height) and areas, in pixels, are those of the visible part. `attributes`
    adds the colour (null where one word cannot say it), the image used, and its mirroring.
    """
    result = []
    for number, (item, box) in enumerate(zip(scene.objects, drawn.boxes(), strict=True), start=1):
        x, y, w, h = box
        result.append(
            {
                "image_id": image_id(scene),
                "category_id": BY_NAME[item.category].id,
                "bbox": [x, y, w, h],
                "area": int(np.count_nonzero(drawn.owner == number)),
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                "iscrowd": 0,
                "attributes": {"color": item.colour, "icon": item.icon, "flipped": item.flipped},
            }
        )
    return result


def _header(scenes: list[Scene], suffix: str) -> dict[str, Any]:
    return {
        "info": {"description": "StickerScenes", "version": "1"},
        "licenses": [{"id": 1, "name": "MIT (sticker art: Fluent Emoji)", "url": ""}],
        "images": [
            {
                "id": image_id(scene),
                "file_name": file_name(scene, suffix),
                "width": scene.width,
                "height": scene.height,
                "license": 1,
            }
            for scene in scenes
        ],
    }


def instances_document(
    scenes: Iterable[Scene], drawings: Iterable[Rendering] | None = None, suffix: str = "png"
) -> dict[str, Any]:
    """A COCO instances document.

    Args:
        scenes: Scenes of one split.
        drawings: The drawn scenes, where they are at hand already.
        suffix: Ending of the images' file names.

    Returns:
        A document as in COCO's `instances_*.json`, JSON-ready.
    """
    scenes = list(scenes)
    drawn = (render(scene) for scene in scenes) if drawings is None else drawings
    found = [a for scene, d in zip(scenes, drawn, strict=True) for a in annotations_of(scene, d)]
    return {
        **_header(scenes, suffix),
        "annotations": [{"id": number, **a} for number, a in enumerate(found, start=1)],
        "categories": [
            {"id": c.id, "name": c.name, "supercategory": c.supercategory} for c in CATEGORIES
        ],
    }


def captions_document(scenes: Iterable[Scene], suffix: str = "png") -> dict[str, Any]:
    """A COCO captions document: five reference captions for each scene."""
    scenes = list(scenes)
    texts = [(image_id(scene), text) for scene in scenes for text in reference_captions(scene)]
    return {
        **_header(scenes, suffix),
        "annotations": [
            {"id": number, "image_id": image, "caption": text}
            for number, (image, text) in enumerate(texts, start=1)
        ],
    }
