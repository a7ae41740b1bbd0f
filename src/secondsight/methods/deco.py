"""DeCo: add what the surest of the later middle layers says (arXiv 2410.11779)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch

from secondsight.methods.base import Method, parameter, plausibility
from secondsight.methods.divergence import check_variant
from secondsight.methods.exits import Early, EarlyExit
from secondsight.methods.layers import check_layers, layers_from
from secondsight.methods.registry import register

FROM: Final = 0.625
BELOW: Final = 0.906
"""Its layers 20 to 28 of 32, as shares of the depth."""


@register("deco")
@dataclass(frozen=True)
class DeCo(Method):
    """Raise the candidates by the logits of the layer that is surest of one of them.

    Candidates are the fewest tokens that together reach `top_p`, at most `top_k`; the variant
    ``paper`` knows no `top_k`. Earlier layers are read with the final norm.
    """

    source: ClassVar[str] = "arXiv 2410.11779"
    alpha: float = parameter(0.6, "weight of the earlier layer", low=0)
    top_p: float = parameter(0.9, "candidates together reach this probability", low=0, high=1)
    top_k: int = parameter(20, "the most candidates", low=1)
    layers: str = parameter("auto", "auto (0.625 to 0.906 of the depth), all, a number, 8-10, 3/5")
    variant: str = parameter("code", "code, or paper: no top_k")
    beta: float | None = plausibility(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_layers("deco", self.layers, ("auto", "all"))
        check_variant("deco", self.variant)

    def early_exits(self, depth: int, *, tied: bool = False) -> tuple[EarlyExit, ...]:
        """The preceding layers, read with the final norm."""
        words = {
            "auto": range(round(FROM * depth), min(round(BELOW * depth), depth)),
            "all": range(1, depth),
        }
        return tuple(
            EarlyExit(layer) for layer in layers_from("deco", self.layers, words, high=depth - 1)
        )

    def plausible(self, logits: torch.Tensor) -> torch.Tensor:
        """The candidates, and those above `beta` where one is set."""
        most = logits.shape[-1] if self.variant == "paper" else min(self.top_k, logits.shape[-1])
        ordered = logits.softmax(dim=-1).topk(most, dim=-1)
        before = ordered.values.cumsum(dim=-1) - ordered.values
        kept = torch.zeros_like(logits, dtype=torch.bool)
        kept.scatter_(-1, ordered.indices, before < self.top_p)
        kept.scatter_(-1, ordered.indices[..., :1], True)
        limit = super().plausible(logits)
        return kept if limit is None else kept & limit

    def combine(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> torch.Tensor:
        """``l + alpha * max p_A * l_A`` for the surest layer A."""
        assert early is not None, "deco declares its exits"
        sure, anchor = self._surest(logits[0], early.logits)
        layer = early.logits[anchor, torch.arange(len(anchor), device=anchor.device)]
        return logits[0] + self.alpha * sure[:, None] * layer

    def facts(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> Mapping[str, Any]:
        """The surest layer, and how sure it is of which candidate."""
        assert early is not None, "deco declares its exits"
        sure, anchor = self._surest(logits[0], early.logits)
        one = early.exits[int(anchor)]
        assert isinstance(one, EarlyExit)
        return {"layer": one.layer, "probability": float(sure)}

    def _surest(self, base: torch.Tensor, early: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The best probability that a layer gives a candidate, and that layer's place."""
        given = early.softmax(dim=-1).masked_fill(~self.plausible(base), 0)
        best = given.amax(dim=-1)
        sure, anchor = best.max(dim=0)
        return sure, anchor
