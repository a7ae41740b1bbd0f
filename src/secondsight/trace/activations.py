"""Activations of the prompt in the live run: image features, embeddings, positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from secondsight.decoding.engine import Engine
from secondsight.trace.keep import Keeper
from secondsight.trace.modules import PROJECTOR, find
from secondsight.trace.tensors import TensorFacts, summarize


class PromptActivations:
    """Takes note of the original view's prompt as it is read, in however many passes.

    Args:
        engine: The engine; it runs a single sequence.
        keeper: Keeps the tensors whole, if it is asked to.

    Attributes:
        encoded: The vision tower's features, as the projector got them.
        projected: What the projector made of them.
        mask_ones: Ones in the attention mask of the last pass; None where transformers left the
            mask out because it was all ones.
    """

    def __init__(self, engine: Engine, keeper: Keeper) -> None:
        self._engine = engine
        self._keeper = keeper
        self.encoded: TensorFacts | None = None
        self.projected: TensorFacts | None = None
        self.mask_ones: int | None = None
        self._embeddings: list[torch.Tensor] = []
        self._positions: list[torch.Tensor] = []

    @property
    def embeddings(self) -> TensorFacts | None:
        """What went into the first layer of the language model, (1, positions, width)."""
        return summarize(torch.cat(self._embeddings, dim=1)) if self._embeddings else None

    @property
    def position_ids(self) -> tuple[int, int] | None:
        """The first and the last position id of the prompt."""
        if not self._positions:
            return None
        return int(self._positions[0][..., 0].min()), int(self._positions[-1][..., -1].max())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what is run inside."""
        model = self._engine.pool.model
        projector = find(model, PROJECTOR)
        decoder = model.get_decoder()
        hooks = [decoder.register_forward_pre_hook(self._before_layers, with_kwargs=True)]
        if projector is not None:
            hooks.append(projector[1].register_forward_hook(self._after_projector))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        if self._embeddings:
            self._keeper.keep("prompt.embeddings", torch.cat(self._embeddings, dim=1))
        if self._positions:
            self._keeper.keep("prompt.position_ids", torch.cat(self._positions, dim=-1))

    def _after_projector(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.encoded is not None or not isinstance(output, torch.Tensor):
            return
        # The first call is the original view's alone: each view's images are encoded apart.
        self.encoded, self.projected = summarize(inputs[0]), summarize(output)
        self._keeper.keep("vision.encoded", inputs[0])
        self._keeper.keep("vision.projected", output)

    def _before_layers(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        embeddings = kwargs.get("inputs_embeds")
        found = self._of_the_prompt()
        if found is None or embeddings is None:
            return
        place, columns = found
        self._embeddings.append(embeddings[place : place + 1, columns])
        positions = kwargs.get("position_ids")
        if positions is not None:
            self._positions.append(positions[..., place : place + 1, columns])
        mask = kwargs.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.ndim == 2:
            self.mask_ones = int(mask[place].sum())

    def _of_the_prompt(self) -> tuple[int, slice] | None:
        """Where the original view's row is in this pass, and which of its columns are new to it."""
        pool = self._engine.pool
        row, window = self._engine.running[0].rows[0], pool.cache.window
        if row.cached >= row.end:
            return None
        if isinstance(window.rows, slice):
            rows = list(range(pool.cache.rows)[window.rows])
        else:
            rows = window.rows.tolist()
        if row.index not in rows:
            return None
        begin = max(row.cached, row.first)
        stop = row.split if begin < row.split else row.end  # what is shared has a pass of its own
        return rows.index(row.index), slice(begin - window.offset, stop - window.offset)
