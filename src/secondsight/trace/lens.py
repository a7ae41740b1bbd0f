"""The logit lens: what the model would say if it ended after each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from secondsight.trace.token_facts import Candidate, LensLayer
from secondsight.trace.tokens import TokenReader

_TOP = 5


class Lens:
    """Reads the hidden states of the answer's tokens through the model's own output head.

    Args:
        norm: The language model's last normalisation.
        head: Its output head.
        rows: The positions that predict the answer's tokens.
        tokens: The tokens that were written.
        cap: Where the family bounds its logits softly (Gemma 2): the bound.
    """

    def __init__(
        self, norm: Any, head: Any, rows: slice, tokens: Sequence[int], *, cap: float | None = None
    ) -> None:
        self._norm = norm
        self._head = head
        self._rows = rows
        self._cap = cap
        self._tokens = torch.tensor(tokens)
        self._layers: list[tuple[torch.Tensor, ...]] = []

    def add(self, hidden: torch.Tensor) -> None:
        """Take in the hidden states after the embeddings or a layer, (1, positions, width)."""
        logits = self._head(self._norm(hidden[:, self._rows]))[0].float()
        if self._cap is not None:
            logits = torch.tanh(logits / self._cap) * self._cap
        chosen = logits.gather(-1, self._tokens.to(logits.device)[:, None])
        total = logits.logsumexp(dim=-1, keepdim=True)
        top = logits.topk(min(_TOP, logits.shape[-1]), dim=-1)
        ranks = (logits > chosen).sum(dim=-1) + 1
        kept = ((chosen - total)[:, 0], ranks, top.indices, top.values - total, top.values)
        self._layers.append(tuple(tensor.cpu() for tensor in kept))

    def result(self, read: TokenReader) -> tuple[tuple[LensLayer, ...], ...]:
        """For each token, the layers' opinions."""
        columns: list[tuple[LensLayer, ...]] = []
        lists = [tuple(tensor.tolist() for tensor in layer) for layer in self._layers]
        for place in range(len(self._tokens)):
            column = []
            for number, (chosen, ranks, ids, logs, values) in enumerate(lists):
                top = zip(ids[place], logs[place], values[place], strict=True)
                column.append(
                    LensLayer(
                        layer=number,
                        top=tuple(
                            Candidate(token, read.text(token), math.exp(log), value)
                            for token, log, value in top
                        ),
                        probability=math.exp(chosen[place]),
                        rank=ranks[place],
                    )
                )
            columns.append(tuple(column))
        return tuple(columns)
