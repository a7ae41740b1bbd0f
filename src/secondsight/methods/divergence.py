"""How DoLa and ReVisiT compare what two layers say: as their papers do, or as their codes do."""

from __future__ import annotations

from typing import Final

import torch

from secondsight.errors import MethodError, nearest

VARIANTS: Final = ("code", "paper")


def check_variant(method: str, variant: str) -> None:
    """See that a variant is known.

    Raises:
        MethodError: It is not.
    """
    if variant not in VARIANTS:
        raise MethodError(f"{method} has no variant {variant!r}.{nearest(variant, VARIANTS)}")


def distances(one: torch.Tensor, other: torch.Tensor, variant: str) -> torch.Tensor:
    """How far distributions are from each other.

    With ``m = (p + q) / 2`` the variant ``paper`` is the Jensen-Shannon divergence
    ``(KL(p | m) + KL(q | m)) / 2``; ``code`` has the terms the other way round,
    ``(KL(m | p) + KL(m | q)) / 2``, and is unbounded.

    Args:
        one: Log-probabilities, of shape (..., tokens).
        other: Log-probabilities that broadcast to it.
        variant: One of `VARIANTS`.

    Returns:
        Natural logarithms, summed over the tokens, of shape (...).
    """
    p, q = one.exp(), other.exp()
    middle = (p + q) / 2
    if variant == "paper":
        logs = middle.log()
        terms = _times(p, one - logs) + _times(q, other - logs)
    else:
        terms = 2 * torch.xlogy(middle, middle) - _times(middle, one) - _times(middle, other)
    return terms.sum(dim=-1) / 2


def _times(p: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """Products in which an impossible token counts nothing, whatever its logarithm."""
    return torch.where(p > 0, p * logs, 0)
