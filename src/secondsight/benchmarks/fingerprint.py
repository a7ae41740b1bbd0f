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
    """SHA-256 over ids, questions, truths and the pictures' contents."""
    digest = hashlib.sha256()
    pictures: dict[str, str] = {}
    for item in items:
        if item.image_id not in pictures:
            pictures[item.image_id] = _picture_hash(item.image)
        entry = [item.id, item.image_id, pictures[item.image_id], item.question, dict(item.truth)]
        digest.update(json.dumps(entry, sort_keys=True).encode())
    return digest.hexdigest()


def _picture_hash(picture: Image.Image | Path) -> str:
    if isinstance(picture, Path):
        return hashlib.sha256(picture.read_bytes()).hexdigest()
    header = f"{picture.mode} {picture.size}\n".encode()
    return hashlib.sha256(header + picture.tobytes()).hexdigest()
