"""SID: contrast with what the model says when it sees the least attended image tokens alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch

from secondsight.edits import AttentionEdit, EditedRows
from secondsight.errors import MethodError
from secondsight.layout import PromptLayout
from secondsight.methods.base import Method, parameter
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import Edited, Original, View

_LAYER: Final = 2


@dataclass(frozen=True)
class KeepLeastAttended(AttentionEdit):
    """Hides, from one layer on, all image tokens but those that the layer before attends to least.

    What the prompt's positions see is decided by its last one; every token that is written decides
    for itself, so the set changes from token to token.

    Attributes:
        layer: The first layer that sees less.
        keep: How many image tokens it sees; below 1, which share of them.
    """

    whole_prompt: ClassVar[bool] = True
    layer: int
    keep: float

    def layers(self, depth: int) -> Sequence[int]:
        """The layer that decides, and all behind it."""
        first = min(self.layer, max(depth - 1, 1)) if self.layer == _LAYER else self.layer
        if not 1 <= first < depth:
            raise MethodError(
                f"sid: layer={self.layer} needs a layer before it that decides and is one of this "
                f"model's {depth}: give one from 1 to {depth - 1}."
            )
        return range(first - 1, depth)

    def check(self, depth: int, layout: PromptLayout) -> None:
        """See `AttentionEdit.check`."""
        super().check(depth, layout)
        self.kept(layout)

    def kept(self, layout: PromptLayout) -> int:
        """How many of a prompt's image tokens stay."""
        there = layout.image_tokens
        wanted = max(1, round(self.keep * there)) if self.keep < 1 else int(self.keep)
        if wanted > there:
            raise MethodError(f"sid: keep={self.keep:g}, and the image has {there} tokens.")
        return wanted

    def scores(self, layer: int, scores: torch.Tensor, at: EditedRows) -> torch.Tensor:
        """Hide what the deciding layer hid."""
        hidden: torch.Tensor | None = at.memory.get("hidden")
        if hidden is None:
            return scores
        return scores.masked_fill(hidden.to(scores.device), torch.finfo(scores.dtype).min)

    def weights(self, layer: int, weights: torch.Tensor, at: EditedRows) -> torch.Tensor:
        """Decide, in the first of the layers."""
        if "hidden" not in at.memory:
            at.memory["hidden"] = self._hidden(weights.mean(dim=1), at)
        return weights

    def _hidden(self, attended: torch.Tensor, at: EditedRows) -> torch.Tensor:
        """Which keys each query is not to see, bool of shape (rows, 1, queries, keys)."""
        _, queries, keys = attended.shape
        ends = attended.new_tensor([one.end for one in at.layouts], dtype=torch.long)
        positions = at.positions[:, 0, :, 0]
        places = torch.arange(queries, device=attended.device)
        decides = (places + (ends[:, None] - positions).clamp(min=0)).clamp(max=queries - 1)
        first = int(decides.min())  # the queries before it are in a prompt and decide nothing
        image = at.image[:, 0]
        wanted = [self.kept(one) for one in at.layouts]
        order = attended[:, first:].masked_fill(~image, torch.inf).argsort(dim=-1, stable=True)
        ranks = torch.empty_like(order).scatter_(
            -1, order, torch.arange(keys, device=order.device).expand_as(order)
        )
        kept = ranks < torch.tensor(wanted, device=order.device)[:, None, None]
        hidden = image & ~kept
        return hidden.gather(1, (decides - first)[:, :, None].expand(-1, -1, keys))[:, None]

    def facts(self, at: EditedRows) -> Sequence[Mapping[str, Any]]:
        """The kept image tokens, counted in the image, in its order."""
        seen = at.image[:, 0, 0] & ~at.memory["hidden"][:, 0, -1]
        return [
            {"kept_tokens": tuple(row[image].nonzero()[:, 0].tolist())}
            for row, image in zip(seen, at.image[:, 0, 0], strict=True)
        ]


@register("sid")
@dataclass(frozen=True)
class SID(Method):
    """Subtract what the model says when it sees the least attended image tokens alone."""

    source: ClassVar[str] = "arXiv 2408.02032"
    alpha: float = parameter(0.5, "weight of the contrast")
    layer: int = parameter(_LAYER, "the first layer, from 0, that sees fewer image tokens", low=1)
    keep: float = parameter(0.17, "image tokens it sees: a number, or below 1 a share", low=0)
    official: bool = parameter(False, "as the code's greedy decoding does: no plausibility")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep == 0 or (self.keep > 1 and self.keep != int(self.keep)):
            raise MethodError(
                "sid: keep must be a number of image tokens, or a share between 0 and 1; not "
                f"{self.keep:g}."
            )

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The image, and the image by its least attended tokens."""
        return (Original(), Edited(KeepLeastAttended(self.layer, self.keep), "least attended"))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``(1 + alpha) * l - alpha * l-``."""
        return (1 + self.alpha) * logits[0] - self.alpha * logits[1]

    def plausible(self, logits: torch.Tensor) -> torch.Tensor | None:
        """See `Method.plausible`."""
        return None if self.official else super().plausible(logits)
