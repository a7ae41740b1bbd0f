"""Batches: questions on one image together, all samples answered, memory survived."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondsight import Sample, UserError
from secondsight.inference.batching import checked_batch_size, order

samples = st.lists(
    st.builds(
        Sample,
        image=st.sampled_from(["a.jpg", "b.jpg", "c.jpg", None]),
        question=st.text("?", min_size=1),
    )
)


@given(samples, st.integers(1, 5))
def test_every_sample_once_and_images_together(found: list[Sample], batch_size: int) -> None:
    numbers = order(found, batch_size)
    assert sorted(numbers) == list(range(len(found)))
    if len(found) <= 16 * batch_size:  # one window
        images = [found[number].image for number in numbers]
        changes = sum(a != b for a, b in itertools.pairwise(images))
        assert changes == max(len(set(images)) - 1, 0)


def test_similar_lengths_go_together() -> None:
    found = [Sample(f"{length}.jpg", "?" * length) for length in (9, 1, 8, 2)]
    assert order(found, 2) == [1, 3, 2, 0]


@pytest.mark.parametrize("asked", [0, -1, 2.0, True, "many", None])
def test_a_batch_size_that_is_none(asked: object) -> None:
    with pytest.raises(UserError, match="batch_size"):
        checked_batch_size(asked)  # type: ignore[arg-type]


def test_auto() -> None:
    assert checked_batch_size("auto") is None
    assert checked_batch_size(3) == 3
