"""Joining model inputs of different lengths into one batch, left-padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

ModelInputs = Mapping[str, Any]
"""Keyword arguments of a model's forward pass; tensors have the batch first."""

TOKEN_ALIGNED: Final = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""Inputs with one value per token of the prompt, of shape (batch, tokens)."""


def padding_id(model: PreTrainedModel) -> int:
    """An id to pad with that the model does not take for an image slot, even behind the mask."""
    slots = {
        getattr(model.config, f"{kind}_token_id", None) for kind in ("image", "video", "audio")
    }
    pad = model.generation_config.pad_token_id
    candidates = [*([] if pad is None else [pad]), *range(len(slots) + 1)]
    return next(token for token in candidates if token not in slots)


def join(batches: Sequence[ModelInputs], pad_id: int) -> dict[str, Any]:
    """Put batches under one another, in order.

    Inputs with a value per token are padded on the left; pixels and other inputs of images are
    padded with zeros at the end where shapes differ, and left out where a batch has no image.

    Args:
        batches: The inputs of each batch; each has ``input_ids`` of shape (rows, tokens).
        pad_id: The id written on padding, which is masked.

    Returns:
        Inputs of one batch with the rows of all of them, with an ``attention_mask``.
    """
    width = max(batch["input_ids"].shape[1] for batch in batches)
    joined: dict[str, Any] = {}
    for key in dict.fromkeys(key for batch in batches for key in batch):
        if key in TOKEN_ALIGNED or key == "position_ids":
            continue
        values = [batch[key] for batch in batches if batch.get(key) is not None]
        if values:
            joined[key] = _join_values(values)
    for key in TOKEN_ALIGNED:
        if key == "attention_mask" or any(batch.get(key) is not None for batch in batches):
            fill = pad_id if key == "input_ids" else 0
            rows = [pad_left(_per_token(batch, key), width, fill) for batch in batches]
            joined[key] = torch.cat(rows)
    return joined


def insert_gap(inputs: ModelInputs, at: int, width: int, pad_id: int) -> dict[str, Any]:
    """One sample's inputs with masked padding in the middle of the prompt.

    Args:
        inputs: A batch of one.
        at: Where the gap begins.
        width: Its width.
        pad_id: The id written on it.
    """
    spread = dict(inputs)
    for key in TOKEN_ALIGNED:
        if key == "attention_mask" or inputs.get(key) is not None:
            values = _per_token(inputs, key)
            gap = values.new_full((values.shape[0], width), pad_id if key == "input_ids" else 0)
            spread[key] = torch.cat([values[:, :at], gap, values[:, at:]], dim=-1)
    spread.pop("position_ids", None)  # they are counted along the mask
    return spread


def pad_left(values: torch.Tensor, width: int, fill: int) -> torch.Tensor:
    """Pad the last dimension on the left to a width."""
    return F.pad(values, (width - values.shape[-1], 0), value=fill)


def _per_token(batch: ModelInputs, key: str) -> torch.Tensor:
    values = batch.get(key)
    if values is not None:
        return values
    ids: torch.Tensor = batch["input_ids"]
    return torch.ones_like(ids) if key == "attention_mask" else torch.zeros_like(ids)


def _join_values(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        return _stack_rows(values)
    if isinstance(first, list | tuple):
        return [item for value in values for item in value]
    if isinstance(first, ModelOutput):
        return _join_features(values)
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for value in values for key in value)
        return {key: _join_values([value[key] for value in values if key in value]) for key in keys}
    return first


def _stack_rows(tensors: list[torch.Tensor]) -> torch.Tensor:
    if tensors[0].ndim == 0:
        return tensors[0]
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        missing = [want - have for want, have in zip(shape, tensor.shape[1:], strict=True)]
        pads = [pad for amount in reversed(missing) for pad in (0, amount)]
        padded.append(F.pad(tensor, pads) if any(missing) else tensor)
    return torch.cat(padded)


_FEATURES: Final = ("pooler_output", "deepstack_features")
"""What models read from pre-encoded images; the rest is only carried along."""


def _join_features(outputs: list[ModelOutput]) -> ModelOutput:
    """Join the pre-encoded images that `generate` hands on, in the order of their slots."""
    joined: dict[str, Any] = {}
    for key in _FEATURES:
        values = [output[key] for output in outputs if output.get(key) is not None]
        if not values:
            continue
        if isinstance(values[0], torch.Tensor):
            joined[key] = torch.cat([value.flatten(0, -2) for value in values]).unsqueeze(0)
        elif key == "deepstack_features":
            layers = zip(*values, strict=True)
            joined[key] = [_join_layer(list(layer)) for layer in layers]
        else:
            joined[key] = [item for value in values for item in value]
    return type(outputs[0])(**joined)


def _join_layer(layer: list[Any]) -> Any:
    if isinstance(layer[0], torch.Tensor):
        return torch.cat(layer)
    return [item for value in layer for item in value]
