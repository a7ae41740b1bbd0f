"""The batches of a run, numbered in the order in which they are answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_BATCHES: Final = 4
"""How many batches' items are answered in one go: the model keeps its batch full among them, and
no more than these are lost when a run is killed."""


@dataclass(frozen=True)
class Batches(Generic[T]):
    """Method, seed and items by number.

    Some questions by all methods, then the next: the beginnings of their prompts are read once for
    all, and what an interrupted run leaves can be compared.

    Attributes:
        items: What is asked, or its names.
        methods: The methods' names.
        seeds: The seeds.
        batch_size: Samples that the model answers together.
    """

    items: Sequence[T]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    batch_size: int

    def __len__(self) -> int:
        groups = -(-len(self.items) // (_BATCHES * self.batch_size))
        return groups * len(self.methods) * len(self.seeds)

    def __getitem__(self, number: int) -> tuple[str, int, Sequence[T]]:
        rest, seed = divmod(number, len(self.seeds))
        group, method = divmod(rest, len(self.methods))
        step = _BATCHES * self.batch_size
        return self.methods[method], self.seeds[seed], self.items[group * step : (group + 1) * step]

    def __iter__(self) -> Iterator[tuple[str, int, Sequence[T]]]:
        return map(self.__getitem__, range(len(self)))
