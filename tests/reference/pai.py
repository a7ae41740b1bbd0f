"""PAI for one position: attention to the image raised, and a contrast with the text alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .llama import Llama


class Amplified(Llama):
    """Raises the scores of image keys for all queries from one position on.

    Args:
        model: See `Llama`.
        image: Image positions, start and stop.
        begin: The first position that is amplified.
        layers: The layers in which it is.
        alpha: How much.
    """

    def __init__(
        self, model: Any, image: tuple[int, int], begin: int, layers: Sequence[int], alpha: float
    ) -> None:
        super().__init__(model)
        self.image, self.begin, self.layers, self.alpha = image, begin, layers, alpha

    def edited(self, scores: Tensor, layer: int) -> Tensor:
        """See `Llama.edited`."""
        if layer not in self.layers:
            return scores
        raised = scores.clone()
        to_image = raised[:, self.begin :, self.image[0] : self.image[1]]
        to_image += self.alpha * to_image.abs()
        return raised


def pai(base: Tensor, text: Tensor, *, gamma: float) -> Tensor:
    """The contrast of log-probabilities, and no token below a tenth of the best."""
    s, u = base.log_softmax(-1), text.log_softmax(-1)
    scores = gamma * (s - u) + u
    scores[s < math.log(0.1) + s.max()] = -math.inf
    return scores
