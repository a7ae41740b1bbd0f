"""ICD, LCD and AGLA for one position: what their codes make of two models' logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .layers import Decision, kept


def icd(base: Tensor, branch: Tensor, *, alpha: float = 1.0, beta: float = 0.1) -> Decision:
    """Away from what the model says in a disturbing role."""
    scores = (1 + alpha) * base - alpha * branch
    scores[~kept(base, beta)] = -math.inf
    return scores, {"base": base, "branch": branch}


def lcd(
    base: Tensor, branch: Tensor, *, alpha: float = 2.0, beta: float = 0.1, entropy: bool = True
) -> Decision:
    """Away from a language model, the more the surer it is."""
    p = branch.softmax(-1)
    spread = float(-(p * p.log()).sum())
    weight = alpha / spread if entropy else alpha
    scores = (1 + weight) * base.log_softmax(-1) - weight * branch.log_softmax(-1)
    scores[~kept(base, beta)] = -math.inf
    facts = {"lm_entropy": spread, "alpha_t": weight}
    return scores.log_softmax(-1), {**facts, "base": base, "branch": branch}


def agla(base: Tensor, branch: Tensor, *, alpha: float = 2.0, beta: float = 0.5) -> Decision:
    """Towards what the model says of the masked image."""
    scores = base + alpha * branch
    scores[~kept(base, beta)] = -math.inf
    return scores, {"base": base, "branch": branch}


def drawn(scores: Tensor, generator: torch.Generator) -> int:
    """One draw, as ``torch.multinomial`` on the CPU makes it."""
    race = torch.empty_like(scores).exponential_(1, generator=generator)
    return int((scores.softmax(-1) / race).argmax())


def warped(scores: Tensor, temperature: float, top_p: float) -> Tensor:
    """Scores divided, and the fewest tokens kept that together reach a probability."""
    scores = scores / temperature
    if top_p == 1:
        return scores
    ordered = scores.sort()
    dropped = ordered.values.softmax(-1).cumsum(-1) <= 1 - top_p
    dropped[-1] = False
    return scores.index_fill(0, ordered.indices[dropped], -math.inf)
