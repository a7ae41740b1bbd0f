"""The folder for `generate(custom_generate=FOLDER, trust_remote_code=True)`, as on the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import secondsight
from secondsight.decoding.collate import join, padding_id
from secondsight.views import add_diffusion_noise

FOLDER = Path(__file__).parents[2] / "integrations" / "custom_generate"
QUESTIONS = ("Is there a dog?", "What colour is the thing in the middle?")
MakeImage = Callable[..., Image.Image]


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What transformers copies the file to."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def inputs(model: secondsight.Model, make_image: MakeImage) -> dict[str, torch.Tensor]:
    """A padded batch of two."""
    rows = [model.encode(make_image(n + 1), question) for n, question in enumerate(QUESTIONS)]
    return dict(join(rows, padding_id(model.hf_model)))


def generate(model: secondsight.Model, inputs: dict[str, Any], method: str, **options: Any) -> Any:
    return model.hf_model.generate(
        **inputs,
        custom_generate=str(FOLDER),
        trust_remote_code=True,
        method=method,
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=None,
        **options,
    )[:, -6:].tolist()


def decoded(model: secondsight.Model, inputs: dict[str, Any], method: str, views: list[Any]) -> Any:
    return model.hf_model.generate(
        **inputs,
        custom_generate=secondsight.decode,
        method=method,
        views=views,
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=None,
    )[:, -6:].tolist()


def test_noise_is_made_from_pixels(model: secondsight.Model, inputs: dict[str, Any]) -> None:
    draws = torch.Generator().manual_seed(3)
    pixels = add_diffusion_noise(inputs["pixel_values"], 500, draws)
    want = decoded(model, inputs, "vcd", [{**inputs, "pixel_values": pixels}])
    assert generate(model, inputs, "vcd", view_seed=3) == want


@pytest.mark.parametrize("method", ["m3id", "pai", "vcd+m3id"])
def test_the_prompt_without_its_image(
    model: secondsight.Model, inputs: dict[str, Any], method: str
) -> None:
    slot = model.hf_model.config.image_token_id
    plain = []
    for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
        ids = torch.tensor([[i for i in row[mask.bool()].tolist() if i != slot]])
        plain.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    pixels = add_diffusion_noise(inputs["pixel_values"], 500, torch.Generator().manual_seed(0))
    noised = [{**inputs, "pixel_values": pixels}] if "vcd" in method else []
    want = decoded(model, inputs, method, [*noised, plain])
    assert generate(model, inputs, method) == want


@pytest.mark.parametrize("method", ["regular", "dola", "sid"])
def test_methods_that_need_nothing_else(
    model: secondsight.Model, inputs: dict[str, Any], method: str
) -> None:
    views = [inputs] if method == "sid" else []
    assert generate(model, inputs, method) == decoded(model, inputs, method, views)


def test_a_view_that_tensors_do_not_give(
    model: secondsight.Model, inputs: dict[str, Any], make_image: MakeImage
) -> None:
    with pytest.raises(ValueError, match="pass views=, or images= and processor="):
        generate(model, inputs, "ritual")
    assert generate(model, inputs, "ritual", views=[inputs]) == decoded(
        model, inputs, "ritual", [inputs]
    )
