"""SID: the same model with only the least attended image tokens in sight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .llama import Llama


class Pruned(Llama):
    """Hides all image tokens but the `keep` least attended ones from one layer on.

    Prompt positions are all decided by the prompt's last one, generated ones each by itself.

    Args:
        model: See `Llama`.
        image: Image positions, start and stop.
        end: The prompt's last position.
        layer: The first layer that sees less.
        keep: How many image tokens stay.

    Attributes:
        kept: After a pass, for each position the kept image tokens, counted in the image.
    """

    def __init__(self, model: Any, image: tuple[int, int], end: int, layer: int, keep: int) -> None:
        super().__init__(model)
        self.image, self.end, self.layer, self.keep = image, end, layer, keep
        self.kept: list[list[int]] = []

    def _attend(self, x: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        weights, values = super()._attend(x, layer)
        if layer == self.layer - 1:
            attended = weights.mean(0)[:, self.image[0] : self.image[1]]
            least = attended.sort(dim=-1).indices[:, : self.keep].sort(dim=-1).values.tolist()
            self.kept = [least[max(position, self.end)] for position in range(len(x))]
        return weights, values

    def edited(self, scores: Tensor, layer: int) -> Tensor:
        """See `Llama.edited`."""
        if layer < self.layer:
            return scores
        start, stop = self.image
        for position, kept in enumerate(self.kept):
            hidden = torch.ones(stop - start, dtype=torch.bool)
            hidden[kept] = False
            scores[:, position, start:stop][:, hidden] = torch.finfo(scores.dtype).min
        return scores
