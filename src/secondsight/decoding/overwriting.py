"""Embeddings of some prompt positions replaced, for some rows of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from secondsight.edits import Overwritten
from secondsight.errors import UnsupportedError


@contextmanager
def overwriting(
    model: PreTrainedModel, rows: Sequence[Overwritten | None], firsts: Sequence[int]
) -> Iterator[None]:
    """Replace embeddings in the forward pass over prompts that is made within.

    Args:
        model: The model.
        rows: For each row of the pass what is replaced, or None.
        firsts: The place of each row's first position in the pass.

    Raises:
        UnsupportedError: The model's decoder is not given embeddings.
    """
    if not any(row is not None for row in rows):
        yield
        return
    decoder: Any = model
    while (inner := decoder.get_decoder()) is not decoder:
        decoder = inner
    met = False

    def replace(module: nn.Module, args: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        nonlocal met
        embeddings = named.get("inputs_embeds")
        if embeddings is None:
            return args, named
        met = True
        embeddings = embeddings.clone()
        for number, (row, first) in enumerate(zip(rows, firsts, strict=True)):
            if row is not None and len(row.positions):
                places = torch.tensor(row.positions, device=embeddings.device) + first
                embeddings[number, places] = _filling(row, embeddings)
        return args, {**named, "inputs_embeds": embeddings, **_shallow(rows, firsts, named)}

    hook = decoder.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
    if not met:
        raise UnsupportedError(
            f"{type(model).__name__} does not hand embeddings to its decoder, so image tokens "
            "cannot be hidden from it (avisc)."
        )


def _filling(row: Overwritten, like: torch.Tensor) -> torch.Tensor:
    """What is written, of shape (positions, hidden)."""
    shape = (len(row.positions), like.shape[-1])
    if row.fill is not None:
        return like.new_full(shape, row.fill)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(row.seed))
    return noise.to(like.device, like.dtype)


def _shallow(
    rows: Sequence[Overwritten | None], firsts: Sequence[int], named: Mapping[str, Any]
) -> dict[str, Any]:
    """The same for features that a decoder adds to its first layers' states (Qwen3-VL): zeros."""
    added, mask = named.get("deepstack_visual_embeds"), named.get("visual_pos_masks")
    if added is None or mask is None:
        return {}
    numbers = mask.flatten().cumsum(dim=0).reshape(mask.shape) - 1
    hidden = [
        int(numbers[place, position + first])
        for place, (row, first) in enumerate(zip(rows, firsts, strict=True))
        if row is not None
        for position in row.positions
    ]
    changed = [features.clone() for features in added]
    for features in changed:
        features[hidden] = 0
    return {"deepstack_visual_embeds": changed}
