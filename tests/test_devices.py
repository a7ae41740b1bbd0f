"""Which device is chosen, and how much is free on it, on machines that this one is not."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch

from secondsight.checkpoints.placement import placement
from secondsight.devices import best_device, empty_caches, free_bytes

GIB = 2**30


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(False, False, "cpu"), (False, True, "mps"), (True, False, "cuda"), (True, True, "cuda")],
)
def test_auto(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == torch.device(chosen)
    assert placement("auto", "auto").device == torch.device(chosen)


@pytest.mark.parametrize(
    ("device", "free"), [("cpu", 6 * GIB), ("mps", 3 * GIB), ("cuda", 7 * GIB), ("cuda:1", GIB)]
)
def test_what_is_free(monkeypatch: pytest.MonkeyPatch, device: str, free: int) -> None:
    memory = SimpleNamespace(available=6 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    cards = {None: 7 * GIB, 1: GIB}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda one: (cards[one.index], 8 * GIB))
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 5 * GIB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * GIB)
    assert free_bytes(torch.device(device)) == free


def test_only_devices_that_are_there_are_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[str] = []
    for name, module, found in (
        ("cuda", torch.cuda, torch.cuda),
        ("mps", torch.mps, torch.backends.mps),
    ):
        monkeypatch.setattr(found, "is_available", lambda name=name: name == "mps")
        monkeypatch.setattr(module, "empty_cache", lambda name=name: emptied.append(name))
    empty_caches()
    assert emptied == ["mps"]
