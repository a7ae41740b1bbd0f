"""VISTA: hidden states pushed towards what the image did to the prompt, and earlier layers' say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .llama import Llama, Pass


class Unnormed(Llama):
    """Leaves the last layer's output as it is."""

    def final_norm(self, x: Tensor) -> Tensor:
        """See `Llama.final_norm`."""
        return x


def steering_vector(model: Any, with_image: Tensor, without: Tensor, *, official: bool) -> Tensor:
    """What the image changes at the prompt's last position, of shape (layers, hidden).

    Args:
        model: See `Llama`.
        with_image: The prompt's embeddings.
        without: The same without the image.
        official: Whether 1 is added to the first feature of the first layer, as the code does.
    """
    seen, unseen = (Unnormed(model).run(given).hidden[1:] for given in (with_image, without))
    vector = torch.stack([a[-1] - b[-1] for a, b in zip(seen, unseen, strict=True)])
    if official:
        vector[0, 0] += 1
    return vector


class Steered(Llama):
    """Turns the feed-forward parts' outputs towards a vector and keeps their length.

    Args:
        model: See `Llama`.
        vector: Of shape (layers, hidden).
        scale: How far.
    """

    def __init__(self, model: Any, vector: Tensor, scale: float) -> None:
        super().__init__(model)
        self.vector, self.scale = vector, scale

    def steered(self, x: Tensor, layer: int) -> Tensor:
        """See `Llama.steered`."""
        v = self.vector[layer]
        length = x.norm(dim=-1, keepdim=True)
        against = -(x @ v)[:, None] / (length * v.norm())
        turned = x / length + self.scale * (1 + against.clamp(min=0)) * v / v.norm()
        return length * turned / turned.norm(dim=-1, keepdim=True)


def mixed(llama: Llama, seen: Pass, at: int, layers: Sequence[int], mix: float) -> Tensor:
    """Logits at a position, mixed with the mean of what some layers say without a norm."""
    base = llama.logits(seen.hidden[-1][at])
    if not mix:
        return base
    # hidden[0] is the embedding, so layer l's output is hidden[l + 1].
    early = torch.stack([llama.logits(seen.hidden[layer + 1][at]) for layer in layers])
    return (1 - mix) * base + mix * early.mean(0)
