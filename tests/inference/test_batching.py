"""Batches: questions on one picture together, all samples answered, memory survived."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secondsight import Sample, UserError
from secondsight.inference.batching import checked_batch_size, in_batches, order

samples = st.lists(
    st.builds(
        Sample,
        image=st.sampled_from(["a.jpg", "b.jpg", "c.jpg", None]),
        question=st.text("?", min_size=1),
    )
)


@given(samples, st.integers(1, 5))
def test_every_sample_once_and_pictures_together(found: list[Sample], batch_size: int) -> None:
    numbers = order(found, batch_size)
    assert sorted(numbers) == list(range(len(found)))
    if len(found) <= 16 * batch_size:  # one window
        pictures = [found[number].image for number in numbers]
        changes = sum(a != b for a, b in itertools.pairwise(pictures))
        assert changes == max(len(set(pictures)) - 1, 0)


def test_similar_lengths_go_together() -> None:
    found = [Sample(f"{length}.jpg", "?" * length) for length in (9, 1, 8, 2)]
    assert order(found, 2) == [1, 3, 2, 0]


def fits(most: int, sizes: list[int]):
    """Answers so many at a time, and fails in the third of them when it is too many."""

    def answer(items: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
        sizes.append(size)
        for place, item in enumerate(items):
            if place == 2 and size > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            yield item, 2 * item

    return answer


def test_half_as_many_where_memory_runs_out_and_nothing_twice() -> None:
    sizes: list[int] = []
    answers = list(in_batches(range(11), 8, fits(3, sizes)))
    assert answers == [(item, 2 * item) for item in range(11)]
    assert sizes == [8, 4, 2]


def test_not_even_one_fits() -> None:
    def answer(items: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
        raise MemoryError
        yield

    with pytest.raises(UserError, match="not enough memory"):
        list(in_batches(range(4), 4, answer))


def test_other_errors_are_not_taken_for_memory() -> None:
    def answer(items: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
        raise RuntimeError("shapes do not match")
        yield

    with pytest.raises(RuntimeError, match="shapes"):
        list(in_batches(range(4), 4, answer))


@pytest.mark.parametrize("asked", [0, -1, 2.0, True, "many", None])
def test_a_batch_size_that_is_none(asked: object) -> None:
    with pytest.raises(UserError, match="batch_size"):
        checked_batch_size(asked)  # type: ignore[arg-type]


def test_auto() -> None:
    assert checked_batch_size("auto") is None
    assert checked_batch_size(3) == 3
