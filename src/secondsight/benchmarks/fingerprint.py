"""Hashes that say whether two runs used the same model and the same data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from secondsight.benchmarks.base import Item


def weights_hash(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # Through bytes, because numpy has no bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def dataset_hash(items: Sequence[Item]) -> str:
    """SHA-256 over ids, questions, truths and the images' contents."""
    digest = hashlib.sha256()
    images: dict[str, str] = {}
    for item in items:
        if item.image_id not in images:
            images[item.image_id] = _image_hash(item.image)
        entry = [item.id, item.image_id, images[item.image_id], item.question, dict(item.truth)]
        digest.update(json.dumps(entry, sort_keys=True).encode())
    return digest.hexdigest()


def _image_hash(image: Image.Image | Path) -> str:
    if isinstance(image, Path):
        return hashlib.sha256(image.read_bytes()).hexdigest()
    header = f"{image.mode} {image.size}\n".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()
