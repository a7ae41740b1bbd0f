"""`auto`: views ride along where their rows cost less than the passes to catch up."""

from __future__ import annotations

from dataclasses import replace

import pytest

import secondsight
from secondsight import UserError
from secondsight.decoding.cost import DEVICES, Cost
from secondsight.decoding.schedule import Schedules, check_schedule

SEVEN_BILLION = Cost(
    layers=32,
    weights=6_700_000_000,
    weight_bytes=13_400_000_000,
    position_bytes=2 * 32 * 4096 * 2,
    device=DEVICES["cuda"],
)


def test_cost_is_that_of_the_models_language_part(model: secondsight.Model) -> None:
    hf_model = model.hf_model
    cost = Cost.of(hf_model)
    vision = sum(
        weight.numel()
        for name, weight in hf_model.named_parameters()
        if "vision_tower" in name or "projector" in name
    )
    assert cost.weights == sum(weight.numel() for weight in hf_model.parameters()) - vision
    assert cost.weight_bytes == 4 * cost.weights
    assert cost.layers == 2
    assert cost.position_bytes == 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, size, bytes
    assert cost.device == DEVICES["cpu"]


def test_what_is_never_needed_does_not_ride() -> None:
    schedules = Schedules(SEVEN_BILLION)
    assert not schedules.pays(0.0, 1, 1, 700)
    assert schedules.pays(1.0, 1, 1, 700)


@pytest.mark.parametrize(
    "worse",
    [
        {"others": 20},
        {"samples": 256},
        {"positions": 40_000},
        {"needed": 0.01},
        {"device": "cpu", "needed": 0.05},
    ],
    ids=["views", "batch", "context", "need", "device"],
)
def test_each_part_of_the_cost_counts(worse: dict[str, float]) -> None:
    def rides(
        samples: int = 1, others: int = 1, positions: int = 700, needed: float = 0.06, **device: str
    ) -> bool:
        cost = replace(SEVEN_BILLION, device=DEVICES[device.get("device", "cuda")])
        return Schedules(cost).pays(needed, samples, others, positions)

    assert rides()
    assert not rides(**worse)  # type: ignore[arg-type]


def test_an_unknown_schedule_is_named() -> None:
    assert check_schedule("lazy") == "lazy"
    with pytest.raises(UserError, match="jiont"):
        check_schedule("jiont")
