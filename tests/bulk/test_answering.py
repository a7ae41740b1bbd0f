"""Where a worker's model is put, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import secondsight
from secondsight.bulk.answering import WORKER, device_of, placed


@pytest.mark.parametrize(
    ("worker", "cards", "loading", "expected"),
    [
        ("5", 4, {"model": "m"}, {"model": "m", "device": "cuda:1"}),
        ("0", 2, {"device": "auto", "device_map": None}, {"device": "cuda:0", "device_map": None}),
        ("1", 1, {"device": "auto"}, {"device": "auto"}),
        ("1", 0, {}, {}),
        ("1", 2, {"device": "cpu"}, {"device": "cpu"}),
        ("1", 2, {"device_map": "auto"}, {"device_map": "auto"}),
        (None, 2, {"device": "auto"}, {"device": "auto"}),  # no process of ours: Ray places it
    ],
)
def test_a_card_for_each_worker(
    monkeypatch: pytest.MonkeyPatch,
    worker: str | None,
    cards: int,
    loading: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    monkeypatch.delenv(WORKER, raising=False)
    if worker is not None:
        monkeypatch.setenv(WORKER, worker)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    assert placed(loading) == expected


def test_devices_are_named_by_what_rounding_depends_on(
    model: secondsight.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device_of(model) == f"cpu ({torch.backends.cpu.get_cpu_capability()})"

    class OnCard:
        hf_model = type("", (), {"parameters": lambda self: iter([Weight()])})()

    class Weight:
        device = torch.device("cuda", 3)

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"H100 (no. {device.index})")
    assert device_of(OnCard()) == "H100 (no. 3)"  # type: ignore[arg-type]
