"""DoLa: contrast the last layer with an earlier one (arXiv 2309.03883)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch

from secondsight.methods.base import Method, parameter
from secondsight.methods.divergence import check_variant, distances
from secondsight.methods.exits import Early, EarlyExit
from secondsight.methods.layers import check_layers, even_layers, layers_from
from secondsight.methods.registry import register

WORDS: Final = ("low", "high", "all")


@register("dola")
@dataclass(frozen=True)
class DoLa(Method):
    """Subtract the log-probabilities of the candidate layer that is farthest from the last.

    Earlier layers are read without the final norm, as in DoLa's code. The variant ``paper``
    measures by the Jensen-Shannon divergence, which the code has the wrong way round.
    """

    source: ClassVar[str] = "arXiv 2309.03883"
    layers: str = parameter(
        "low", "candidate layers: low, high or all even ones, a number, 8-10, or 0/2/4"
    )
    variant: str = parameter("code", "how layers are compared: code or paper")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_layers("dola", self.layers, WORDS)
        check_variant("dola", self.variant)

    def early_exits(self, depth: int, *, tied: bool = False) -> tuple[EarlyExit, ...]:
        """The candidate layers; a single one is always the chosen one."""
        even = even_layers(depth, tied=tied)
        low = [layer for layer in even if 2 * layer < depth]
        words = {"low": low, "high": [layer for layer in even if layer not in low], "all": even}
        if depth > 40:  # DoLa's own buckets are not longer
            words["low"] = [layer for layer in low if layer < 20]
            words["high"] = [layer for layer in even if layer >= depth - 20]
        candidates = layers_from("dola", self.layers, words, high=depth - 1)
        return tuple(EarlyExit(layer, norm=False) for layer in candidates)

    def combine(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> torch.Tensor:
        """``log p - log p_j``; without plausibility ``l - l_j``, as in DoLa's code."""
        assert early is not None, "dola declares its exits"
        candidates = early.logits
        chosen = self._farthest(logits[0], candidates)
        premature = candidates[chosen, torch.arange(len(chosen), device=chosen.device)]
        if not self.beta:
            return logits[0] - premature
        return logits[0].log_softmax(dim=-1) - premature.log_softmax(dim=-1)

    def facts(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> Mapping[str, Any]:
        """The chosen layer, and how far each candidate is from the last."""
        assert early is not None, "dola declares its exits"
        candidates = [one.layer for one in early.exits if isinstance(one, EarlyExit)]
        chosen = int(self._farthest(logits[0], early.logits))
        far = self._distances(logits[0], early.logits)[:, 0].tolist()
        return {"layer": candidates[chosen], "distances": dict(zip(candidates, far, strict=True))}

    def _farthest(self, mature: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        if len(candidates) == 1:
            return torch.zeros(candidates.shape[1], dtype=torch.long, device=candidates.device)
        return self._distances(mature, candidates).argmax(dim=0)

    def _distances(self, mature: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """How far each candidate is from the last layer, of shape (candidates, batch)."""
        found = distances(mature.log_softmax(dim=-1), candidates.log_softmax(dim=-1), self.variant)
        return found / mature.shape[-1]
