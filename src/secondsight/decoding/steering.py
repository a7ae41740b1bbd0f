"""Steering: what feed-forward parts give is turned towards a vector, for some rows of a pass.

The vector is what the image changes at the prompt's last position, layer by layer: two passes over
the prompt, with the image and without, before anything is written (VISTA, arXiv 2502.03628).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from transformers import PreTrainedModel

from secondsight.decoding.stack import Stack, stack_of
from secondsight.edits import Steering
from secondsight.errors import UnsupportedError

_PARTS: Final = ("mlp", "feed_forward", "block_sparse_moe")
"""What families call a layer's feed-forward part."""


@dataclass(frozen=True, eq=False)
class Direction:
    """Where a row's hidden states are turned.

    Attributes:
        vector: float32 of shape (layers, hidden).
        scale: How far.
    """

    vector: torch.Tensor
    scale: float


@torch.no_grad()
def direction(
    model: PreTrainedModel,
    steering: Steering,
    seen: Mapping[str, Any],
    unseen: Mapping[str, Any],
) -> Direction:
    """What the image changes at the prompt's last position.

    Args:
        model: The model.
        steering: What is asked for.
        seen: The prompt's inputs, batch first, one row.
        unseen: Those of the same prompt without the image.
    """
    stack = stack_of(model)
    with_image, without = (_last_states(model, stack, inputs) for inputs in (seen, unseen))
    vector = with_image - without
    if steering.official:
        vector[0, 0] += 1
    return Direction(vector, steering.scale)


@contextmanager
def turning(model: PreTrainedModel, rows: Sequence[Direction | None]) -> Iterator[None]:
    """Turn hidden states in the forward pass that is made within, at every position of some rows.

    Args:
        model: The model.
        rows: For each row of the pass where its states are turned, or None.

    Raises:
        UnsupportedError: The model's layers have no feed-forward part where it is looked for.
    """
    places = [place for place, row in enumerate(rows) if row is not None]
    if not places:
        yield
        return
    found = [row for row in rows if row is not None]
    vectors = torch.stack([row.vector for row in found], dim=1)
    scales = torch.tensor([row.scale for row in found])[:, None, None]

    def after(layer: int) -> Any:
        def turn(module: nn.Module, given: Any, output: Any) -> Any:
            states = output[0] if isinstance(output, tuple) else output
            turned = states.clone()
            own = vectors[layer][:, None].to(states.device)
            turned[places] = _turned(states[places], own, scales.to(states.device))
            return (turned, *output[1:]) if isinstance(output, tuple) else turned

        return turn

    stack = stack_of(model)
    hooks = [
        _part(one, stack).register_forward_hook(after(n)) for n, one in enumerate(stack.layers)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _turned(states: torch.Tensor, vector: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """States of shape (rows, positions, hidden), as long as before, turned towards the vector."""
    x, unit = states.float(), nn.functional.normalize(vector, dim=-1)
    length = x.norm(dim=-1, keepdim=True)
    own = nn.functional.normalize(x, dim=-1)
    against = -(own * unit).sum(dim=-1, keepdim=True)
    toward = own + scale * (1 + against.clamp(min=0)) * unit
    return (length * nn.functional.normalize(toward, dim=-1)).to(states.dtype)


def _part(layer: nn.Module, stack: Stack) -> nn.Module:
    for name in _PARTS:
        part = getattr(layer, name, None)
        if isinstance(part, nn.Module):
            return part
    raise UnsupportedError(
        f"{stack.name}'s layers ({type(layer).__name__}) have no feed-forward part under a known "
        "name, which vista steers."
    )


def _last_states(model: PreTrainedModel, stack: Stack, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The outputs of all layers at the last position, float32 of shape (layers, hidden)."""
    states: list[torch.Tensor] = []

    def note(module: nn.Module, given: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        states.append(hidden[0, -1].float())

    hooks = [layer.register_forward_hook(note) for layer in stack.layers]
    try:
        model(**inputs, use_cache=False, return_dict=True)
    finally:
        for hook in hooks:
            hook.remove()
    device = states[0].device
    return torch.stack([one.to(device) for one in states])
