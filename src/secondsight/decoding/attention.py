"""Attention edits carried out: some rows of a forward pass attend otherwise, the others as ever.

A function of our own is registered with transformers' attention interface. During a pass with
edited rows, and only then, the language model attends through it: it lets the model's own function
(sdpa, flash, eager) compute what it always does, and writes over the output of the edited rows'
queries. So nobody else's numbers change by a bit, and a model keeps its backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

from secondsight.decoding.transformers5 import (
    attention_function,
    attention_implementation,
    attention_through,
)
from secondsight.edits import AttentionEdit, EditedRows
from secondsight.errors import UnsupportedError
from secondsight.layout import PromptLayout

Attention = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]


@dataclass(frozen=True)
class RowEdit:
    """An edited row of a forward pass.

    Attributes:
        edit: The edit.
        layout: Where things are in its prompt.
        first: The key of its first position, counted from the first key of the pass; what is
            before it is padding.
    """

    edit: AttentionEdit
    layout: PromptLayout
    first: int


@contextmanager
def editing(model: PreTrainedModel, rows: Sequence[RowEdit | None]) -> Iterator[Editing]:
    """Edit the attention of some rows in the one forward pass that is made within.

    Args:
        model: The model.
        rows: For each row of the pass its edit, or None.

    Yields:
        The edits at work; ask them for facts after the pass.

    Raises:
        UnsupportedError: The model attends in a way that cannot be edited.
    """
    config = model.config.get_text_config(decoder=True)
    work = Editing(config, rows)
    if not work.groups:
        yield work
        return
    token = _WORK.set((*_WORK.get(), work))
    try:
        with attention_through(config, _registered(attention_implementation(config) or "eager")):
            yield work
    finally:
        _WORK.reset(token)
    work.check(type(model).__name__)


_WORK: ContextVar[tuple[Editing, ...]] = ContextVar("secondsight_attention", default=())
"""The edits at work in this thread, the innermost last."""


class Editing:
    """The edits of one forward pass.

    Args:
        config: The language model's configuration, by which its attention modules are known.
        rows: For each row of the pass its edit, or None.
    """

    def __init__(self, config: PreTrainedConfig, rows: Sequence[RowEdit | None]) -> None:
        self.config = config
        self._eager = attention_implementation(config) == "eager"  # whose weights are asked for
        by_edit: dict[AttentionEdit, list[int]] = {}
        for place, row in enumerate(rows):
            if row is not None:
                by_edit.setdefault(row.edit, []).append(place)
        depth = int(config.num_hidden_layers)
        self.groups = [
            _Group(edit, places, [row for place in places if (row := rows[place])], depth)
            for edit, places in by_edit.items()
        ]
        self._rows = len(rows)
        self._met: set[int] = set()

    def attend(
        self, own: Attention, module: nn.Module, call: Call, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One layer's attention for all rows of the pass.

        Args:
            own: The model's own function.
            module: The attention module.
            call: What it computes with.
            **options: What else the function takes.
        """
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        self._met.add(layer)
        done = [
            (group, edited)
            for group in self.groups
            if layer in group.layers and (edited := group.attend(layer, call)) is not None
        ]
        if len(done) == 1 and done[0][0].is_everything(self._rows) and not self._eager:
            return done[0][1][0], None
        output, weights = own(
            module, call.query, call.key, call.value, call.mask, scaling=call.scaling, **options
        )
        for group, (mixed, altered) in done:
            group.write(output, mixed)
            if weights is not None:
                group.write(weights.transpose(1, 2), altered.transpose(1, 2).to(weights.dtype))
        return output, weights

    def facts(self) -> dict[int, Mapping[str, Any]]:
        """What each edited row's edit decided for the last query of the pass, by row."""
        return {
            place: fact
            for group in self.groups
            if group.at is not None
            for place, fact in zip(group.places, group.edit.facts(group.at), strict=True)
        }

    def check(self, model: str) -> None:
        """See that every layer was met.

        Raises:
            UnsupportedError: Some were not, so the edit did not take place.
        """
        wanted = {layer for group in self.groups if group.at is not None for layer in group.layers}
        nothing = not self._met and any(group.layers for group in self.groups)
        if nothing or not wanted <= self._met:
            raise UnsupportedError(
                f"{model} does not attend through transformers' attention interface, which methods "
                "that edit attention need (pai, sid, avisc)."
            )


@dataclass(frozen=True)
class Call:
    """What an attention function computes with.

    Attributes:
        query: Of shape (rows, heads, queries, head size).
        key: Of shape (rows, key heads, keys, head size).
        value: Of that shape.
        mask: What transformers made of padding and causality: bool or additive of shape (rows, 1,
            queries, keys), padding of shape (rows, keys), or None.
        scaling: Factor of the products.
        softcap: Where scores are bent, in families that do so.
        window: How many keys back a query sees; None for all.
        causal: Whether a query sees what is before it alone, where the mask does not say so.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    scaling: float
    softcap: float | None
    window: int | None
    causal: bool

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return self.query.shape[2]

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return self.key.shape[2]

    def scores(self, rows: slice | list[int], start: int) -> torch.Tensor:
        """Scaled products, float32 of shape (rows, heads, queries, keys).

        Args:
            rows: The rows.
            start: The first query.
        """
        query, key = self.query[rows][:, :, start:], self.key[rows]
        count, heads, queries, size = query.shape
        # Query heads that share a key head are neighbours, so they are more queries to it.
        folded = query.reshape(count, key.shape[1], -1, size)
        products = (folded @ key.transpose(2, 3)).reshape(count, heads, queries, -1)
        scores = products.float() * self.scaling
        return scores if self.softcap is None else torch.tanh(scores / self.softcap) * self.softcap

    def masked(self, scores: torch.Tensor, rows: slice | list[int], start: int) -> torch.Tensor:
        """Scores with minus infinity where the query does not see the key."""
        mask = self.mask
        if mask is None or mask.ndim == 2:
            seen = self._causal(start, scores.device)
            if mask is not None:
                padding = mask[rows][:, None, None, -self.keys :].bool()
                seen = padding if seen is None else padding & seen
            return scores if seen is None else scores.masked_fill(~seen, float("-inf"))
        mask = mask[rows if len(mask) > 1 else slice(None)][:, :, start:, : self.keys]
        if mask.dtype == torch.bool:
            return scores.masked_fill(~mask, float("-inf"))
        hidden = mask <= torch.finfo(mask.dtype).min / 2
        return (scores + mask).masked_fill(hidden, float("-inf"))

    def mixed(self, weights: torch.Tensor, rows: slice | list[int]) -> torch.Tensor:
        """Values by their weights, of shape (rows, queries, heads, head size)."""
        value = self.value[rows]
        count, heads, queries, keys = weights.shape
        folded = weights.to(value.dtype).reshape(count, value.shape[1], -1, keys)
        return (folded @ value).reshape(count, heads, queries, -1).transpose(1, 2)

    def _causal(self, start: int, device: torch.device) -> torch.Tensor | None:
        """What queries from one on see by their place; None where that is everything."""
        windowed = self.window is not None and self.keys > self.window
        if self.queries == 1 and not windowed:
            return None
        key = torch.arange(self.keys, device=device)
        query = key[self.keys - self.queries + start :, None]
        seen = key <= query if self.causal else torch.ones_like(key <= query)
        return seen & (key > query - self.window) if windowed and self.window else seen


class _Group:
    """The rows of a pass that have one edit.

    Args:
        edit: The edit.
        places: The rows' places in the pass.
        rows: The rows.
        depth: How many layers there are.
    """

    def __init__(
        self, edit: AttentionEdit, places: list[int], rows: Sequence[RowEdit], depth: int
    ) -> None:
        self.edit, self.places, self.rows = edit, places, rows
        self.layers = frozenset(edit.layers(depth))
        self.at: EditedRows | None = None
        neighbours = places == list(range(places[0], places[-1] + 1))
        self._index = slice(places[0], places[-1] + 1) if neighbours else places
        self._start = 0
        self._touched: torch.Tensor | None = None

    def attend(self, layer: int, call: Call) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What the edited queries' attention gives; None where the edit changes nothing.

        Returns:
            Output of shape (rows, queries from the first edited one on, heads, head size), and
            weights of shape (rows, heads, these queries, keys).
        """
        at = self._located(call)
        if at is None:
            return None
        given = call.scores(self._index, self._start)
        scores = self.edit.scores(layer, given, at)
        softmaxed = call.masked(scores, self._index, self._start).softmax(dim=-1)
        weights = self.edit.weights(layer, softmaxed, at)
        if scores is given and weights is softmaxed:
            return None
        return call.mixed(weights, self._index), weights

    def is_everything(self, rows: int) -> bool:
        """Whether all queries of all rows of a pass are edited."""
        return len(self.places) == rows and not self._start and self._touched is None

    def write(self, output: torch.Tensor, edited: torch.Tensor) -> None:
        """Put what edited queries give in the place of what the model's own function gave.

        Args:
            output: Of shape (rows of the pass, queries of the pass, ...).
            edited: Of shape (rows, queries from the first edited one on, ...).
        """
        if self._touched is not None:
            touched = self._touched.to(output.device)
            edited = torch.where(touched, edited, output[self._index, self._start :])
        output[self._index, self._start :] = edited

    def _located(self, call: Call) -> EditedRows | None:
        """Where things are in the pass; None where it holds no query that the edit is about."""
        if self.at is None:
            spans = [self._span(row, call) for row in self.rows]
            start = min((span.start for span in spans if span), default=None)
            if start is None:
                return None
            self._start = start
            stop = call.queries
            if any(span.start > start or span.stop < stop for span in spans):
                self._touched = torch.zeros(len(spans), stop - start, 1, 1, dtype=torch.bool)
                for touched, span in zip(self._touched, spans, strict=True):
                    touched[span.start - start : max(span.stop - start, 0)] = True
            self.at = self._rows_at(call, stop - start)
        device = call.query.device
        if self.at.image.device != device:
            self.at.image = self.at.image.to(device)
            self.at.positions = self.at.positions.to(device)
        return self.at

    def _span(self, row: RowEdit, call: Call) -> range:
        """The queries of a pass that the edit is about."""
        asked = self.edit.queries(row.layout)
        shift = row.first - (call.keys - call.queries)
        stop = call.queries if asked.stop is None else min(asked.stop + shift, call.queries)
        start = max(asked.start + shift, 0)
        return range(start, stop) if start < stop else range(call.queries, call.queries)

    def _rows_at(self, call: Call, queries: int) -> EditedRows:
        device, keys = call.query.device, call.keys
        runs = [
            (place, row.first + run.start, row.first + run.stop)
            for place, row in enumerate(self.rows)
            for run in row.layout.image
        ]
        image = torch.zeros(len(self.rows), keys, dtype=torch.bool)
        for place, start, stop in runs:
            image[place, start:stop] = True
        first = torch.tensor([row.first for row in self.rows])
        positions = torch.arange(keys - queries, keys) - first[:, None]
        return EditedRows(
            tuple(row.layout for row in self.rows),
            image[:, None, None].to(device),
            positions[:, None, :, None].to(device),
        )


def _attend(
    base: str,
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention as transformers calls it, some rows edited."""
    own = attention_function(module, base)
    work = next((one for one in reversed(_WORK.get()) if one.config is module.config), None)
    if work is None:
        return own(module, query, key, value, attention_mask, scaling=scaling, **options)
    unknown = [name for name in ("s_aux", "position_bias") if options.get(name) is not None]
    if unknown:
        raise UnsupportedError(
            f"The attention of {type(module).__name__} has {unknown[0]}, which methods that edit "
            "attention (pai, sid, avisc) do not know."
        )
    causal = options.get("is_causal")
    call = Call(
        query,
        key,
        value,
        attention_mask,
        query.shape[-1] ** -0.5 if scaling is None else scaling,
        options.get("softcap"),
        options.get("sliding_window") if base not in ("sdpa", "eager") else None,
        bool(getattr(module, "is_causal", True) if causal is None else causal),
    )
    return work.attend(own, module, call, **options)


def _registered(base: str) -> str:
    """The name of our function on top of one of transformers', with the masks of that one."""
    name = f"secondsight_{base}"
    if name not in ALL_MASK_ATTENTION_FUNCTIONS:
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
        AttentionInterface.register(name, partial(_attend, base))
    return name
