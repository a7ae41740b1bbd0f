"""Activations of the prompt in the live run: image features, embeddings, positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from secondsight.decoding.transformers5 import CACHE
from secondsight.trace.keep import Keeper
from secondsight.trace.modules import PROJECTOR, find
from secondsight.trace.tensors import TensorFacts, summarize


class PromptActivations:
    """Takes note of the first pass of the original view.

    Attributes:
        encoded: The vision tower's features, as the projector got them.
        projected: What the projector made of them.
        embeddings: What went into the first layer of the language model.
        position_ids: The first and the last position id of the prompt.
        mask_ones: Ones in the attention mask; None where transformers left the mask out because
            it was all ones.
        cache: The key-value cache of the run.
    """

    def __init__(self, model: Any, keeper: Keeper) -> None:
        self._model = model
        self._keeper = keeper
        self.encoded: TensorFacts | None = None
        self.projected: TensorFacts | None = None
        self.embeddings: TensorFacts | None = None
        self.position_ids: tuple[int, int] | None = None
        self.mask_ones: int | None = None
        self.cache: Any = None
        self._length = 0

    @contextmanager
    def watching(self, length: int) -> Iterator[None]:
        """Watch what is run inside.

        Args:
            length: The original view's positions; other views may be longer, and padded.
        """
        self._length = length
        projector = find(self._model, PROJECTOR)
        decoder = self._model.get_decoder()
        hooks = [decoder.register_forward_pre_hook(self._before_layers, with_kwargs=True)]
        if projector is not None:
            hooks.append(projector[1].register_forward_hook(self._after_projector))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _after_projector(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.encoded is not None or not isinstance(output, torch.Tensor):
            return
        # The first call is the original view's alone: the loop encodes each view's images apart.
        self.encoded, self.projected = summarize(inputs[0]), summarize(output)
        self._keeper.keep("vision.encoded", inputs[0])
        self._keeper.keep("vision.projected", output)

    def _before_layers(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self.cache = kwargs.get(CACHE, self.cache)
        embeddings = kwargs.get("inputs_embeds")
        if self.embeddings is not None or embeddings is None:
            return
        own = embeddings[:1, -self._length :]
        self.embeddings = summarize(own)
        self._keeper.keep("prompt.embeddings", own)
        positions = kwargs.get("position_ids")
        if positions is not None:
            own_positions = positions[..., :1, -self._length :]
            self._keeper.keep("prompt.position_ids", own_positions)
            self.position_ids = (
                int(own_positions[..., 0].min()),
                int(own_positions[..., -1].max()),
            )
        mask = kwargs.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.ndim == 2:
            self.mask_ones = int(mask[0].sum())
