"""ReVisiT: multiply with what the nearest image position says (arXiv 2506.09522)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch

from secondsight.methods.base import Method, parameter, plausibility
from secondsight.methods.divergence import check_variant, distances
from secondsight.methods.exits import Early, ImageExit, ImageLogits
from secondsight.methods.layers import check_layers, even_layers, layers_from
from secondsight.methods.registry import register

WORDS: Final = ("last", "all", "low", "high")


@register("revisit")
@dataclass(frozen=True)
class ReVisiT(Method):
    """Add the log-probabilities of the image position that is nearest, among plausible tokens.

    Every image position of the prompt has passed the layers like a word, so the head turns it into
    a distribution over words. The variant ``paper`` compares by the Jensen-Shannon divergence,
    which the code has the wrong way round.
    """

    source: ClassVar[str] = "arXiv 2506.09522"
    layers: str = parameter("last", "layers of the image positions: last, all, low, high, 4/8/10")
    variant: str = parameter("code", "how distributions are compared: code or paper")
    beta: float | None = plausibility(1e-5)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_layers("revisit", self.layers, WORDS)
        check_variant("revisit", self.variant)

    def early_exits(self, depth: int, *, tied: bool = False) -> tuple[ImageExit, ...]:
        """The image positions of the prompt, after each of the layers."""
        even = even_layers(depth, tied=tied)
        low = [layer for layer in even if 2 * layer < depth]
        high = [layer for layer in even if 2 * layer >= depth]
        if depth > 40:
            low = [layer for layer in low if layer < 20]
            high = [layer for layer in high if layer >= depth - 20]
        words = {
            "last": [depth],
            "all": [*even, depth],
            "low": [*low, depth],
            "high": [*high, depth],
        }
        return (ImageExit(layers_from("revisit", self.layers, words, high=depth)),)

    def combine(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> torch.Tensor:
        """``log p + log q`` over the plausible tokens, ``q`` of the nearest image position."""
        assert early is not None, "revisit declares its exits"
        scores = torch.full_like(logits[0], float("-inf"))
        for sample, said in enumerate(early[0]):
            ids, base, shown, far = self._compared(logits[0, sample], said)
            scores[sample, ids] = base + shown[far.argmin()]
        return scores

    def facts(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> Mapping[str, Any]:
        """The nearest image position, its layer, and how far it is."""
        assert early is not None, "revisit declares its exits"
        [one], [said] = early.exits, early[0]
        assert isinstance(one, ImageExit)
        ids, _, _, far = self._compared(logits[0, 0], said)
        layer, token = divmod(int(far.argmin()), said.positions)
        distance = float(far.min()) / len(ids)
        return {"layer": one.layers[layer], "image_token": token, "distance": distance}

    def _compared(
        self, base: torch.Tensor, said: ImageLogits
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """One sample's plausible ids; log-probabilities among them; how far positions are."""
        mask = self.plausible(base)
        ids = torch.arange(len(base), device=base.device) if mask is None else mask.nonzero()[:, 0]
        ours = base[ids].log_softmax(dim=-1)
        shown = said(ids).to(base.device).log_softmax(dim=-1)
        return ids, ours, shown, distances(ours, shown, self.variant)
