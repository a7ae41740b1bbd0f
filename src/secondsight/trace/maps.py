"""Attention to the patches as small maps, which a report can hold by the thousand."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Maps:
    """Many small non-negative maps, each as bytes relative to its own peak.

    Attributes:
        values: uint8 of shape (..., tokens, patches).
        peaks: float32 of shape (..., tokens): what 255 stands for.
    """

    values: npt.NDArray[np.uint8]
    peaks: npt.NDArray[np.float32]

    def to_dict(self) -> dict[str, Any]:
        """Shape, peaks, and the bytes in base64; a value is ``byte / 255 * peak``."""
        return {
            "shape": list(self.values.shape),
            "peaks": _rounded(self.peaks.ravel()),
            "uint8_base64": base64.b64encode(self.values.tobytes()).decode(),
        }


@dataclass(frozen=True)
class ViewAttention:
    """Attention of the answer's tokens to the patches, in one view.

    Each token's row is the attention at the position that predicts it.

    Attributes:
        view: The view's name.
        mean: Mean over layers and heads, float32 of shape (tokens, patches).
        layers: Mean over heads, one map per layer and token.
        heads: By layer, one map per head and token; for the layers that were asked for or fit.
        rollout: Attention rolled out through the layers, (tokens, patches), if it was asked for.
        image_share: How much attention goes to the image, all of it, (layers, tokens).
        grid: Rows and columns of the patches; None where they form no image.
    """

    view: str
    mean: npt.NDArray[np.float32]
    layers: Maps
    heads: Mapping[int, Maps]
    rollout: npt.NDArray[np.float32] | None
    image_share: npt.NDArray[np.float32]
    grid: tuple[int, int] | None

    def share(self, token: int) -> float:
        """How much of a token's attention goes to the image, mean over layers and heads."""
        return float(self.image_share[:, token].mean())

    def strongest(self, token: int) -> int:
        """The patch that a token attends to most, from 0 in reading order."""
        return int(self.mean[token].argmax())

    def to_dict(self) -> dict[str, Any]:
        """Plain data: `mean` as numbers, the maps as base64."""
        return {
            "view": self.view,
            "grid": None if self.grid is None else list(self.grid),
            "mean": [_rounded(row) for row in self.mean],
            "layers": self.layers.to_dict(),
            "heads": {str(layer): maps.to_dict() for layer, maps in self.heads.items()},
            "rollout": None if self.rollout is None else [_rounded(row) for row in self.rollout],
            "image_share": [_rounded(row) for row in self.image_share],
        }


def _rounded(values: npt.NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]
