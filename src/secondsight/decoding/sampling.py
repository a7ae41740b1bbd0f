"""Random numbers that belong to a sample, not to the batch it is in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed from a run's seed and what it is for, the same on every machine."""
    text = "\x1f".join([str(seed), *map(str, names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int) -> torch.Generator:
    """Random numbers on the CPU, so that they are the same on any device."""
    return torch.Generator().manual_seed(seed)


def draw(
    scores: torch.Tensor, generators: Sequence[torch.Generator], rows: Sequence[int]
) -> torch.Tensor:
    """Draw one token per row from softmax(scores), each row from its own generator.

    The draw is ``argmax(p / q)`` with `q` exponential, which is what ``torch.multinomial`` does
    for one row: with a generator of the same seed it gives the same token.

    Args:
        scores: float32 of shape (rows, vocabulary); -inf for tokens without a chance.
        generators: Every sample's generator.
        rows: For each row of `scores`, the number of its sample.

    Returns:
        int64 token ids of shape (rows,).
    """
    probabilities = scores.softmax(dim=-1)
    noise = torch.stack(
        [torch.empty(scores.shape[-1]).exponential_(1, generator=generators[row]) for row in rows]
    )
    return (probabilities / noise.to(scores.device)).argmax(dim=-1)
