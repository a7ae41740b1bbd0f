"""AvisC: which image tokens are blind, from the attention of the prompt's last position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Blind:
    """What AvisC finds.

    Attributes:
        share: How much of the attention to the image each layer has.
        layers: The layers that count, the largest share first.
        weight: Each image token's mean attention in these layers.
        threshold: From which on a token is blind.
        tokens: The blind tokens, counted in the image.
    """

    share: Tensor
    layers: list[int]
    weight: Tensor
    threshold: float
    tokens: list[int]


def blind(
    attention: list[Tensor], at: int, image: tuple[int, int], gamma: float, lam: float
) -> Blind:
    """Find the tokens.

    Args:
        attention: For every layer (heads, positions, positions).
        at: The prompt's last position.
        image: Image positions, start and stop.
        gamma: The share of attention that the layers that count have together, about.
        lam: How many standard deviations above the mean a blind token is.
    """
    to_image = torch.stack([layer.mean(0)[at, image[0] : image[1]] for layer in attention])
    share = to_image.sum(1) / to_image.sum()
    order = share.sort(descending=True).indices.tolist()
    total, count = 0.0, 1
    for layer in order:
        total += float(share[layer])
        if total >= gamma:
            break
        count += 1
    layers = order[:count]
    weight = to_image[layers].mean(0)
    threshold = float(weight.mean() + lam * weight.std())
    tokens = [token for token, one in enumerate(weight.tolist()) if one >= threshold]
    return Blind(share, layers, weight, threshold, tokens)


def only_blind(
    embeddings: Tensor, image: tuple[int, int], tokens: list[int], fill: float
) -> Tensor:
    """The prompt's embeddings with those of all other image tokens overwritten."""
    seen: Any = embeddings.clone()
    for token in range(image[1] - image[0]):
        if token not in tokens:
            seen[image[0] + token] = fill
    return seen
