"""VISTA: steer towards what the image does, and let later middle layers have their say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import torch

from secondsight.edits import Steering
from secondsight.methods.base import Method, parameter, plausibility
from secondsight.methods.exits import Early, EarlyExit
from secondsight.methods.layers import check_layers, layers_from
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import Original, Steered, View

_WORDS: Final = ("auto",)


@register("vista")
@dataclass(frozen=True)
class Vista(Method):
    """Turn hidden states towards what the image does to the prompt; mix in later layers."""

    source: ClassVar[str] = "arXiv 2502.03628"
    scale: float = parameter(0.17, "lambda: how far hidden states are turned; 0 for not", low=0)
    mix: float = parameter(0.3, "gamma: share of the earlier layers; 0 for none", low=0, high=1)
    layers: str = parameter("auto", "layers that have a share, from 0: auto, 25-30, 8/10")
    official: bool = parameter(
        False, "as the code does: 1 is added to the first feature of the first layer's vector"
    )
    beta: float | None = plausibility(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_layers("vista", self.layers, _WORDS)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The image, steered."""
        return (Steered(Steering(self.scale, self.official)) if self.scale else Original(),)

    def early_exits(self, depth: int, *, tied: bool = False) -> tuple[EarlyExit, ...]:
        """Outputs of layers without the final norm; by default 25 to 30 of 32, scaled."""
        if not self.mix:
            return ()
        first, last = (min(round(share / 32 * depth), depth - 1) for share in (25, 30))
        auto: Sequence[int] = range(first, last + 1)
        named = layers_from("vista", self.layers, {"auto": auto}, high=depth - 1)
        return tuple(EarlyExit(layer + 1, norm=False) for layer in named)

    def combine(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> torch.Tensor:
        """``(1 - mix) * l + mix * mean(l_j)``."""
        if early is None:
            return logits[0]
        return (1 - self.mix) * logits[0] + self.mix * early.logits.mean(dim=0)
