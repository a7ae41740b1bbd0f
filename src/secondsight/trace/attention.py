"""Attention from the answer's tokens to the patches, summarised layer by layer as it passes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from secondsight.trace.keep import Keeper
from secondsight.trace.maps import Maps, ViewAttention
from secondsight.trace.patches import Patches

Floats = npt.NDArray[np.float32]


class AttentionCollector:
    """Collects what every layer's attention says of the patches.

    Args:
        view: The view's name.
        rows: The positions that predict the answer's tokens.
        patches: Where the image is.
        rollout: Whether to roll attention out through the layers (Abnar and Zuidema, 2020).
        keeper: Keeps the rows whole, if it is asked to.
    """

    def __init__(
        self, view: str, rows: slice, patches: Patches, *, rollout: bool, keeper: Keeper
    ) -> None:
        self._view = view
        self._rows = rows
        self._patches = patches
        self._keeper = keeper
        self._rollout: torch.Tensor | None = None
        self._rolls = rollout
        self._means: list[torch.Tensor] = []
        self._shares: list[torch.Tensor] = []
        self._heads: list[Maps] = []

    def add(self, layer: int, weights: torch.Tensor) -> None:
        """Take in one layer's attention, of shape (1, heads, positions, positions)."""
        own = weights[0, :, self._rows].float()
        self._keeper.keep(f"attention.{self._view}.{layer}", own)
        everywhere = self._patches.everywhere.to(own.device)
        self._shares.append(own.index_select(-1, everywhere).sum(dim=-1).mean(dim=0).cpu())
        heads = own.index_select(-1, self._patches.shown.to(own.device))
        self._means.append(heads.mean(dim=0).cpu())
        self._heads.append(as_maps(heads.cpu().numpy()))
        if self._rolls:
            mean = weights[0].float().mean(dim=0)
            mixed = (mean + torch.eye(len(mean), device=mean.device)) / 2
            self._rollout = mixed if self._rollout is None else mixed @ self._rollout

    def result(self) -> ViewAttention | None:
        """Everything about the view, all heads included; None if no layer showed its attention."""
        if not self._means:
            return None
        layers = torch.stack(self._means).numpy()
        rolled = None
        if self._rollout is not None:
            rows = self._rollout[self._rows]
            rolled = rows.index_select(-1, self._patches.shown.to(rows.device)).cpu().numpy()
        return ViewAttention(
            view=self._view,
            mean=layers.mean(axis=0),
            layers=as_maps(layers),
            heads=dict(enumerate(self._heads)),
            rollout=rolled,
            image_share=torch.stack(self._shares).numpy(),
            grid=self._patches.grid,
        )


@contextmanager
def attention_shown(decoder: Any) -> Iterator[None]:
    """Let the language model compute attention in the way that shows its weights."""
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


def as_maps(values: Floats) -> Maps:
    """Maps as bytes relative to the peak of each; the last dimension is a map."""
    peaks = values.max(axis=-1, keepdims=True, initial=0.0)
    levels = np.divide(values, peaks, out=np.zeros_like(values), where=peaks > 0)
    return Maps((levels * 255).round().astype(np.uint8), peaks[..., 0].astype(np.float32))


def fitting(
    views: Sequence[ViewAttention], *, wanted: Collection[int], budget: int
) -> tuple[ViewAttention, ...]:
    """The views with the heads of as many layers as fit: those asked for, then by image share.

    Args:
        views: The views with all heads.
        wanted: Layers whose heads are kept in any case.
        budget: Bytes for the maps of layers and heads of all views.
    """
    if not views:
        return ()
    left = budget - sum(view.layers.values.nbytes for view in views)
    share = views[0].image_share.mean(axis=-1)
    order = sorted(views[0].heads, key=lambda layer: -float(share[layer]))
    kept = set(wanted)
    for layer in order:
        cost = sum(view.heads[layer].values.nbytes for view in views if layer in view.heads)
        if layer in kept or cost <= left:
            kept.add(layer)
            left -= cost
    return tuple(replace(view, heads=_only(view.heads, kept)) for view in views)


def _only(heads: Mapping[int, Maps], layers: Collection[int]) -> dict[int, Maps]:
    return {layer: maps for layer, maps in heads.items() if layer in layers}
