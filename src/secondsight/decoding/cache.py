"""A key-value cache in which every row keeps the token of a step in the same slot.

A forward pass is about some rows and a window of slots. Rows (one per view and sequence) may be
read late, fall behind and catch up, come and go; because the newest token of every row is in the
same slot, none of this needs more than *which rows* and *which slots*. Slots are written in place.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin

from secondsight.decoding.sharing import KeysValues
from secondsight.decoding.transformers5 import attention_implementation
from secondsight.errors import UnsupportedError

RowIndex = slice | torch.Tensor
"""Rows of the cache: a slice where they are neighbours (no copy), otherwise int64 indices."""


@dataclass(frozen=True)
class Window:
    """What the next forward pass is about.

    Attributes:
        rows: The rows that take part.
        start: First slot that any of them attends to.
        offset: First slot that the pass computes.
        stop: The slot after the last one that it computes.
        fresh: Which of the computed slots are to be kept, bool of shape (rows, 1, slots, 1), where
            rows differ; the others hold what was read before. None keeps them all.
    """

    rows: RowIndex
    start: int
    offset: int
    stop: int
    fresh: torch.Tensor | None = None


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, each of shape (rows, heads, slots, head size)."""

    is_compileable = False
    is_croppable = False
    supports_early_init = False

    def __init__(self, cache: SlotCache, is_sliding: bool) -> None:
        super().__init__()
        self.cache = cache
        self.is_sliding = is_sliding

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate the slots; zeros, since masked slots still enter the arithmetic."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = self.allocated(key_states), self.allocated(value_states)
        self.is_initialized = True

    def allocated(self, like: torch.Tensor) -> torch.Tensor:
        """Empty slots for all rows, of the heads and dtype of keys or values."""
        shape = (self.cache.rows, like.shape[1], self.cache.slots, like.shape[3])
        return _untouched(shape, like.dtype) if like.device.type == "cpu" else like.new_zeros(shape)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the window's slots and return what its rows attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        window = self.cache.window
        rows, written = window.rows, slice(window.offset, window.stop)
        if window.fresh is not None:
            key_states = torch.where(window.fresh, key_states, self.keys[rows, :, written])
            value_states = torch.where(window.fresh, value_states, self.values[rows, :, written])
        self.keys[rows, :, written] = key_states
        self.values[rows, :, written] = value_states
        seen = slice(window.start, window.stop)
        return self.keys[rows, :, seen], self.values[rows, :, seen]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a query sees."""
        return self.cache.window.stop - self.cache.window.start, 0

    def get_seq_length(self) -> int:
        """Number of slots before the ones that the window computes."""
        return self.cache.window.offset - self.cache.window.start

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


def _untouched(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Zeros of which only what is written takes memory; torch would write them all.

    They are the system's own pages, not the allocator's: what that has used before it would write
    zeros over, and blocks of such a size would leave holes that nothing else fills.
    """
    count = math.prod(shape)
    if not count:
        return torch.empty(tuple(shape), dtype=dtype)
    pages = mmap.mmap(-1, count * dtype.itemsize, access=mmap.ACCESS_COPY)  # this process's own
    return torch.frombuffer(pages, dtype=dtype).reshape(shape)


class SlotCache(Cache):
    """The keys and values of all rows; `window` says what the next forward pass is about.

    Args:
        config: The text model's configuration.
        rows: Number of rows.
        slots: Number of slots.

    Attributes:
        moved: Bytes copied within the cache so far: rows that took the place of others, shared
            prefixes apart, and everything when it grew.

    Raises:
        UnsupportedError: A layer keeps a recurrent state instead of keys and values.
    """

    def __init__(self, config: PreTrainedConfig, rows: int, slots: int) -> None:
        kinds = layer_kinds(config)
        other = {kind for kind in kinds if kind not in _ATTENTION_KINDS}
        if other:
            raise UnsupportedError(
                f"Models with {', '.join(sorted(other))} layers keep a recurrent state that views "
                "cannot share; secondsight supports attention layers only."
            )
        super().__init__(layers=[SlotLayer(self, kind != "full_attention") for kind in kinds])
        self.rows, self.slots = rows, slots
        self.window = Window(slice(0, rows), 0, 0, 0)
        self.moved = 0

    @property
    def is_initialized(self) -> bool:
        """Whether the window's rows have been read before, which PaliGemma's mask depends on."""
        return self.window.offset > self.window.start

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values take."""
        return sum(part.nbytes for layer in self._live() for part in (layer.keys, layer.values))

    def _live(self) -> list[Any]:
        return [layer for layer in self.layers if layer.is_initialized]

    def seen(self, layer: int, rows: RowIndex, slots: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of one layer, each of shape (rows, heads, slots, head size)."""
        kept: Any = self.layers[layer]
        return kept.keys[rows, :, slots], kept.values[rows, :, slots]

    def copy_out(self, row: int, slots: slice) -> KeysValues:
        """Copies of one row's keys and values in some slots, layer by layer."""
        return [
            (
                layer.keys[row : row + 1, :, slots].clone(),
                layer.values[row : row + 1, :, slots].clone(),
            )
            for layer in self._live()
        ]

    def copy_in(self, row: int, slots: slice, prefix: KeysValues) -> None:
        """Write keys and values into some slots of a row."""
        for layer, (keys, values) in zip(self.layers, prefix, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(keys, values)
            layer.keys[row : row + 1, :, slots] = keys
            layer.values[row : row + 1, :, slots] = values

    def erase(self, row: int) -> None:
        """Write zeros over all slots of a row.

        What is masked has a weight of zero, and zero times what is no number is none either: a row
        that overflowed must leave nothing behind for those who come after it.
        """
        for layer in self._live():
            layer.keys[row].zero_()
            layer.values[row].zero_()

    def copy_row(self, source: int, target: int, slots: slice) -> None:
        """Copy some slots of a row to another row."""
        for layer in self._live():
            for part in (layer.keys, layer.values):
                part[target, :, slots] = part[source, :, slots]
                self.moved += part[source, :, slots].nbytes

    def copy_rows(self, sources: Sequence[int], targets: Sequence[int], slots: slice) -> None:
        """Copy some slots of several rows to as many others, none of which is a source."""
        for layer in self._live():
            for part in (layer.keys, layer.values):
                copied = part[list(sources), :, slots]
                part[list(targets), :, slots] = copied
                self.moved += copied.nbytes

    def resize(self, rows: int, slots: int, *, row_at: int, old: slice, new: slice) -> None:
        """Make room for other rows or slots, or shift what is there.

        Args:
            rows: How many rows there are afterwards.
            slots: How many slots.
            row_at: Where the first of the present rows goes.
            old: The slots that are kept.
            new: Where they go, of the same width.
        """
        before = self.rows
        self.rows, self.slots = rows, slots
        for layer in self._live():
            for name in ("keys", "values"):
                kept = getattr(layer, name)[:, :, old]
                grown = layer.allocated(kept)
                grown[row_at : row_at + before, :, new] = kept
                setattr(layer, name, grown)
                self.moved += kept.nbytes

    def export(self, rows: slice, slots: slice) -> DynamicCache:
        """Some rows as transformers' own cache, to continue from."""
        dynamic = DynamicCache()
        for index, layer in enumerate(self.layers):
            if layer.is_initialized:
                dynamic.update(layer.keys[rows, :, slots], layer.values[rows, :, slots], index)
        return dynamic


_ATTENTION_KINDS: Final = ("full_attention", "sliding_attention", "chunked_attention")


def layer_kinds(config: PreTrainedConfig) -> list[str]:
    """What each layer is."""
    kinds = getattr(config, "layer_types", None)
    return list(kinds or ["full_attention"] * int(config.num_hidden_layers))


def takes_masks(config: PreTrainedConfig) -> bool:
    """Whether all layers take one mask of shape (rows, 1, queries, keys), true where to attend."""
    full = set(layer_kinds(config)) == {"full_attention"}
    # Mistral names no kinds of layers; with a window, what a token sees is not all of its row.
    named = getattr(config, "layer_types", None) is not None
    windowed = not named and getattr(config, "sliding_window", None) is not None
    return attention_implementation(config) == "sdpa" and full and not windowed
