"""Hashes that say whether two runs used the same model and the same data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from secondsight.benchmarks.task import Item


def weights_hash(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # Through bytes, because numpy has no bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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
