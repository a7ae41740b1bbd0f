"""PAI: pay more attention to the image, and less heed to what the text alone would say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import torch

from secondsight.edits import AttentionEdit, EditedRows
from secondsight.layout import PromptLayout
from secondsight.methods.base import Method, parameter
from secondsight.methods.layers import check_layers, layers_from
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import Edited, NoImage, Original, View

_WORDS: Final = ("auto", "all")


@dataclass(frozen=True)
class AmplifyImage(AttentionEdit):
    """Raises scores of image tokens by a share of their size, for each token that is written.

    Attributes:
        alpha: The share.
        named: The layers, as text; ``auto`` is layer 2 of 32 and all above, scaled to the model.
        first: Whether the first token is written so too, or only those after it.
    """

    alpha: float
    named: str = "auto"
    first: bool = True

    def layers(self, depth: int) -> Sequence[int]:
        """See `AttentionEdit.layers`."""
        words = {"auto": range(round(2 / 32 * depth), depth), "all": range(depth)}
        return layers_from("pai", self.named, words, high=depth - 1)

    def queries(self, layout: PromptLayout) -> slice:
        """The prompt's last position, which the first token is read from, and all after it."""
        return slice(layout.end if self.first else layout.length, None)

    def scores(self, layer: int, scores: torch.Tensor, at: EditedRows) -> torch.Tensor:
        """``w + alpha * |w|`` for image tokens."""
        return torch.where(at.image, scores + self.alpha * scores.abs(), scores)


@register("pai")
@dataclass(frozen=True)
class PAI(Method):
    """Raise the attention to the image, and contrast with the prompt without it."""

    source: ClassVar[str] = "arXiv 2407.21771"
    alpha: float = parameter(0.2, "how much attention to the image is raised; 0 for not", low=0)
    gamma: float = parameter(1.1, "weight of the contrast with the text alone; 1 for none", low=1)
    layers: str = parameter("auto", "layers whose attention is raised: auto, all, 2-31, 0/2/4")
    official: bool = parameter(
        False, "as the code does: with the contrast on, attention is not raised for the first token"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_layers("pai", self.layers, _WORDS)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The image with more attention; with a contrast, the prompt without the image."""
        contrast = self.gamma != 1
        edit = AmplifyImage(self.alpha, self.layers, first=not (self.official and contrast))
        base = Edited(edit, "image amplified") if self.alpha else Original()
        return (base, NoImage()) if contrast else (base,)

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``gamma * log p - (gamma - 1) * log p_text``."""
        if self.gamma == 1:
            return logits[0]
        seen, text = logits.log_softmax(dim=-1)
        return self.gamma * seen - (self.gamma - 1) * text

    def plausible(self, logits: torch.Tensor) -> torch.Tensor | None:
        """With the contrast on; attention alone drops no token."""
        return None if self.gamma == 1 else super().plausible(logits)
