"""Hashes that say whether two runs asked the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from secondsight.benchmarks.task import Item


def item_hashes(items: Sequence[Item]) -> dict[str, str]:
    """By id, a hash of what the model is asked: the question and the image's content.

    Each image is read once.
    """
    images: dict[str, str] = {}
    found: dict[str, str] = {}
    for item in items:
        if item.image_id not in images:
            images[item.image_id] = _image_hash(item.shown())
        asked = json.dumps([images[item.image_id], item.question])
        found[item.id] = hashlib.sha256(asked.encode()).hexdigest()[:16]
    return found


def _image_hash(image: Image.Image | Path | None) -> str:
    if image is None:
        return ""
    if isinstance(image, Path):
        return hashlib.sha256(image.read_bytes()).hexdigest()
    return hashlib.sha256(f"{image.mode} {image.size}\n".encode() + image.tobytes()).hexdigest()
