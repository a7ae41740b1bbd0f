"""Prefixes that are kept: the ones used last, up to a number of bytes."""

from __future__ import annotations

import torch

from secondsight.decoding.sharing import Beginning, PrefixCache


def prefix(values: int, **shown: torch.Tensor) -> Beginning:
    """Keys and values of two layers, 16 bytes per value."""
    layers = [(torch.zeros(1, 1, values, 1), torch.zeros(1, 1, values, 1)) for _ in range(2)]
    return Beginning(layers, dict(enumerate(shown.values())))


def test_the_ones_used_longest_ago_are_forgotten() -> None:
    cache = PrefixCache(capacity=16 * 30)
    for key in "abc":
        cache.put(key, prefix(10))
    assert cache.size == 16 * 30
    assert cache.get("a") is not None  # and so "b" is now the oldest
    cache.put("d", prefix(10))
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]
    assert cache.size == 16 * 30


def test_one_that_is_too_large_is_not_kept() -> None:
    cache = PrefixCache(capacity=16 * 5)
    cache.put("small", prefix(5))
    cache.put("large", prefix(6))
    cache.put("large with states", prefix(5, image=torch.zeros(2, 8)))
    assert "small" in cache
    assert len(cache) == 1


def test_put_again_counts_once() -> None:
    cache = PrefixCache(capacity=1000)
    first = prefix(3)
    cache.put("a", first)
    cache.put("a", prefix(3))
    assert cache.get("a") is first
    assert cache.size == 16 * 3
    cache.clear()
    assert (len(cache), cache.size, cache.get("a")) == (0, 0, None)
