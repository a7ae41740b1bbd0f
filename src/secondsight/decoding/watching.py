"""An edit of attention that changes nothing: it sees what a written token attends to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from secondsight.edits import AttentionEdit, EditedRows
from secondsight.layout import PromptLayout


@dataclass(frozen=True)
class WatchAnswer(AttentionEdit):
    """Keeps what the newest token attends to in the last layer: the most of any head.

    The facts of a row are ``attention``, float32 of shape (keys,), which sums to one and whose last
    entries are the written tokens', and ``image``, the part of it that is on the image.
    """

    def layers(self, depth: int) -> Sequence[int]:
        """The last one."""
        return (depth - 1,)

    def queries(self, layout: PromptLayout) -> slice:
        """Written tokens."""
        return slice(layout.length, None)

    def weights(self, layer: int, weights: torch.Tensor, at: EditedRows) -> torch.Tensor:
        """Take note of the newest token's, and change nothing."""
        most = weights[:, :, -1].amax(dim=1)
        at.memory["attention"] = most / most.sum(dim=-1, keepdim=True)
        return weights

    def facts(self, at: EditedRows) -> Sequence[Mapping[str, Any]]:
        """See the class."""
        attention = at.memory["attention"].to(at.image.device)
        image = (attention * at.image[:, 0, 0]).sum(dim=-1)
        return [
            {"attention": row, "image": part} for row, part in zip(attention, image, strict=True)
        ]
