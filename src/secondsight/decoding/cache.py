"""A key-value cache in which every row keeps token `t` in the same slot.

Rows (one per view and sample) may be prefilled late, fall behind and catch up, or leave; because
the slot of a token is the same for all of them, any of these needs no bookkeeping beyond *which
rows* and *which slots* a forward pass is about. Slots are preallocated and written in place.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.generation import GenerationMixin
from transformers.integrations import sdpa_attention

from secondsight.decoding.prefixes import KeysValues
from secondsight.errors import UnsupportedError

CACHE: Final = (
    "cache"
    if "cache" in inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
    else "past_key_values"
)
"""What transformers calls the cache, in models' arguments and outputs: `cache` since 5.24."""

_SPARE_SLOTS: Final = 128
"""Slots allocated beyond what is needed now, so that growing is rare and memory is not wasted."""

RowIndex = slice | torch.Tensor
"""Rows of the cache: a slice where they are contiguous (no copy), otherwise int64 indices."""


@dataclass
class Window:
    """What the next forward pass is about.

    Attributes:
        rows: The rows that take part.
        start: First slot that any of them attends to.
        offset: First slot that the pass writes.
        stop: The slot after the last one it writes.
    """

    rows: RowIndex
    start: int
    offset: int
    stop: int


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
        self.keys = self._slots(key_states, self.cache.capacity)
        self.values = self._slots(value_states, self.cache.capacity)
        self.is_initialized = True

    def _slots(self, like: torch.Tensor, count: int) -> torch.Tensor:
        return like.new_zeros((self.cache.rows, like.shape[1], count, like.shape[3]))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the window's slots and return what its rows attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        window = self.cache.window
        if window.stop > self.keys.shape[2]:
            self._grow()
        rows, written = window.rows, slice(window.offset, window.stop)
        self.keys[rows, :, written] = key_states
        self.values[rows, :, written] = value_states
        seen = slice(window.start, window.stop)
        return self.keys[rows, :, seen], self.values[rows, :, seen]

    def _grow(self) -> None:
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = self._slots(old, self.cache.capacity)
            new[:, :, : old.shape[2]] = old
            setattr(self, name, new)

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these."""
        if self.is_initialized:
            self.keys = self.keys.index_select(0, rows.to(self.keys.device))
            self.values = self.values.index_select(0, rows.to(self.values.device))

    def move(self, places: torch.Tensor, old: slice, new: slice) -> None:
        """Put the rows, and some slots of them, elsewhere; see `SlotCache.move`."""
        if self.is_initialized:
            for name in ("keys", "values"):
                before = getattr(self, name)
                after = self._slots(before, self.cache.capacity)
                after[places.to(before.device), :, new] = before[:, :, old]
                setattr(self, name, after)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a query sees."""
        return self.cache.window.stop - self.cache.window.start, 0

    def get_seq_length(self) -> int:
        """Number of slots before the ones that the window writes."""
        return self.cache.window.offset - self.cache.window.start

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


class SlotCache(Cache):
    """The cache of all rows; `window` says what the next forward pass is about.

    Args:
        config: The text model's configuration.
        rows: Number of rows.
        slots: Number of slots that are surely needed.

    Raises:
        UnsupportedError: A layer keeps a recurrent state instead of keys and values.
    """

    def __init__(self, config: PreTrainedConfig, rows: int, slots: int) -> None:
        kinds = _kinds(config)
        other = {kind for kind in kinds if kind not in _ATTENTION_KINDS}
        if other:
            raise UnsupportedError(
                f"Models with {', '.join(sorted(other))} layers keep a recurrent state that views "
                "cannot share; secondsight.decode supports attention layers only."
            )
        super().__init__(layers=[SlotLayer(self, kind != "full_attention") for kind in kinds])
        self.rows = rows
        self.capacity = slots + _SPARE_SLOTS
        self.window = Window(slice(0, rows), 0, 0, 0)

    def focus(self, window: Window) -> None:
        """Say what the next forward pass is about."""
        if window.stop > self.capacity:
            self.capacity = window.stop + max(_SPARE_SLOTS, self.capacity // 2)
        self.window = window

    @property
    def is_initialized(self) -> bool:
        """Whether the window's rows have been read before, which PaliGemma's mask depends on."""
        return self.window.offset > self.window.start

    def copy_out(self, row: int, slots: slice) -> KeysValues:
        """Copies of one row's keys and values in some slots, layer by layer."""
        return [
            (
                layer.keys[row : row + 1, :, slots].clone(),
                layer.values[row : row + 1, :, slots].clone(),
            )
            for layer in self.layers
            if layer.is_initialized
        ]

    def copy_in(self, row: int, slots: slice, prefix: KeysValues) -> None:
        """Write one row's keys and values into some slots of another row."""
        for layer, (keys, values) in zip(self.layers, prefix, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(keys, values)
            layer.keys[row : row + 1, :, slots] = keys
            layer.values[row : row + 1, :, slots] = values

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these, given as int64 indices."""
        self.rows = len(rows)
        for layer in self.layers:
            layer.keep(rows)

    def move(self, places: Sequence[int], rows: int, old: slice, new: slice) -> None:
        """Make room for more rows, and shift slots.

        Args:
            places: Where each present row goes.
            rows: How many there are afterwards.
            old: The slots that are kept.
            new: Where they go, of the same width; the end is the number of slots needed.
        """
        self.rows, self.capacity = rows, new.stop + _SPARE_SLOTS
        for layer in self.layers:
            layer.move(torch.tensor(places), old, new)

    def export(self, rows: int, start: int, stop: int) -> DynamicCache:
        """The first rows as transformers' own cache, to continue from."""
        dynamic = DynamicCache()
        for index, layer in enumerate(self.layers):
            if layer.is_initialized:
                slots = slice(start, stop)
                dynamic.update(layer.keys[:rows, :, slots], layer.values[:rows, :, slots], index)
        return dynamic


_ATTENTION_KINDS: Final = ("full_attention", "sliding_attention", "chunked_attention")


def _kinds(config: PreTrainedConfig) -> list[str]:
    """What each layer is."""
    kinds = getattr(config, "layer_types", None)
    return list(kinds or ["full_attention"] * int(config.num_hidden_layers))


def takes_masks(config: PreTrainedConfig) -> bool:
    """Whether all layers take one mask of shape (rows, 1, queries, keys), true where to attend."""
    return config._attn_implementation == "sdpa" and set(_kinds(config)) == {"full_attention"}


def masks_pay(config: PreTrainedConfig, device: torch.device) -> bool:
    """Whether one token is read faster with a mask, even one that hides nothing.

    Where several heads share keys, transformers lays them side by side for a masked token, and
    without a mask leaves that to torch, whose kernel for the CPU takes twenty times as long (5.24
    and 2.14, bfloat16, 32 heads of 64 on 4, 690 positions: 0.08 and 1.76 ms a layer).
    """
    shared = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return (
        device.type == "cpu"
        and shared < config.num_attention_heads
        and hasattr(sdpa_attention, "pack_gqa")
    )
