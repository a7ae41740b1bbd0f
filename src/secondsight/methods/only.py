"""ONLY: one layer's attention with the heads that look at the text (arXiv 2507.00898)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from secondsight.errors import MethodError
from secondsight.methods.base import Method, parameter
from secondsight.methods.exits import Altered, AlteredExit, Columns, Early
from secondsight.methods.registry import register


@register("only")
@dataclass(frozen=True)
class Only(Method):
    """Add or subtract what one layer's text-minded heads say when they are read off at once.

    Where the two distributions are near each other (`gamma`) the altered logits are added,
    otherwise subtracted.
    """

    source: ClassVar[str] = "arXiv 2507.00898"
    alpha_pos: float = parameter(3.0, "weight of the altered logits where both are near")
    alpha_neg: float = parameter(1.0, "weight of the contrast where they are not")
    gamma: float = parameter(0.2, "how near is near: total variation, times two", low=0, high=2)
    layer: int = parameter(0, "the layer whose heads are chosen, from 0", low=0)

    def early_exits(self, depth: int, *, tied: bool = False) -> tuple[AlteredExit, ...]:
        """The layer's attention, altered, at the position that is read last."""
        if self.layer >= depth:
            raise MethodError(
                f"only: layer={self.layer} is outside the model, whose layers are 0 to {depth - 1}."
            )
        return (AlteredExit(self.layer, text_minded),)

    def combine(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> torch.Tensor:
        """``l + alpha_pos * l'`` where near, otherwise ``(1 + alpha_neg) * l - alpha_neg * l'``."""
        assert early is not None, "only declares its exit"
        altered: torch.Tensor = early[0].logits
        near = (_distance(logits[0], altered) < self.gamma)[:, None]
        together = logits[0] + self.alpha_pos * altered
        return torch.where(near, together, logits[0] + self.alpha_neg * (logits[0] - altered))

    def facts(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> Mapping[str, Any]:
        """The side that was taken, how far the distributions are, and the heads left out."""
        assert early is not None, "only declares its exit"
        altered: Altered = early[0]
        distance = float(_distance(logits[0], altered.logits))
        removed = altered.removed[0].nonzero()[:, 0].tolist()
        side = "added" if distance < self.gamma else "subtracted"
        return {"side": side, "distance": distance, "removed_heads": removed}


def _distance(base: torch.Tensor, altered: torch.Tensor) -> torch.Tensor:
    return (base.softmax(dim=-1) - altered.softmax(dim=-1)).abs().sum(dim=-1)


def text_minded(weights: torch.Tensor, columns: Columns) -> tuple[torch.Tensor, torch.Tensor]:
    """Drop outliers among the attention weights, then the heads that look at the image.

    Weights above mean and standard deviation of their group (text or image) become 0; the row's
    first position, where attention rests, belongs to neither. A head goes whose entropy over the
    text is small beside that over the image, compared with the mean of all heads.

    Args:
        weights: float32 of shape (rows, heads, keys).
        columns: What the keys are.

    Returns:
        The weights; which heads went, bool of shape (rows, heads).
    """
    groups = torch.stack([columns.text, columns.image], dim=1)[:, None]
    kept = _without_outliers(weights[:, :, None], groups)
    of_text, of_image = _entropy(kept).unbind(dim=-1)
    ratio = of_text.nan_to_num(nan=0.0) / of_image.nan_to_num(nan=float("inf"))
    removed = ratio < ratio.mean(dim=-1, keepdim=True)
    first = weights.masked_fill(~columns.first[:, None], 0)
    return (first + kept.sum(dim=2)).masked_fill(removed[..., None], 0), removed


def _without_outliers(weights: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """The weights of each group of keys without its outliers, 0 elsewhere."""
    count = group.sum(dim=-1, keepdim=True)
    mean = weights.masked_fill(~group, 0).sum(dim=-1, keepdim=True) / count
    squares = (weights - mean).square().masked_fill(~group, 0).sum(dim=-1, keepdim=True)
    limit = mean + (squares / (count - 1)).sqrt()
    return weights.masked_fill(~group | (weights > limit), 0)


def _entropy(weights: torch.Tensor) -> torch.Tensor:
    """Of weights as shares of their sum; NaN where all are 0."""
    shares = weights / weights.sum(dim=-1, keepdim=True)
    return -(shares * (shares + 1e-6).log()).sum(dim=-1)
