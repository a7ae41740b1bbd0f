"""Beginnings of prompts that several rows share: read once, kept, and copied.

Questions about one image have the same prompt up to the question, image included. Their keys
and values are the same, so one row reads them and the others get a copy; the most recent ones are
kept for questions to come.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch

KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
"""Per layer: keys and values of one row, each of shape (1, heads, tokens, head size)."""


@dataclass(frozen=True)
class Prefix:
    """The beginning of a row's prompt that other rows may share.

    Attributes:
        key: Equal for rows whose beginning is the same, tokens and pixels.
        length: Its tokens, image positions included.
    """

    key: Hashable
    length: int


@dataclass(frozen=True)
class Beginning:
    """What is kept of the beginning of a prompt.

    Attributes:
        keys_values: Its keys and values.
        shown: By layer, hidden states at its image positions, where an early exit reads them.
    """

    keys_values: KeysValues
    shown: Mapping[int, torch.Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        cached = sum(tensor.nbytes for layer in self.keys_values for tensor in layer)
        return cached + sum(states.nbytes for states in self.shown.values())


class PrefixCache:
    """Keeps the prefixes that were used last.

    Args:
        capacity: The most it may hold, in bytes.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        """What it holds now, in bytes."""
        self._kept: OrderedDict[Hashable, Beginning] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Beginning | None:
        """A prefix that is kept, or None."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def put(self, key: Hashable, prefix: Beginning) -> None:
        """Keep a prefix, and forget the oldest ones that it leaves no room for."""
        size = prefix.nbytes
        if size > self.capacity:
            return
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = prefix
            self.size += size
            while self.size > self.capacity:
                _, dropped = self._kept.popitem(last=False)
                self.size -= dropped.nbytes

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self.size = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)


@dataclass(frozen=True)
class Prefixes:
    """The shared beginnings of one batch.

    Attributes:
        of: For each view and sample, the beginning of its prompt that others may share, or None.
        kept: Where those of earlier batches are, and those of this one go.
    """

    of: Sequence[Sequence[Prefix | None]]
    kept: PrefixCache
