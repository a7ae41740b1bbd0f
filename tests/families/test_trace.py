"""A trace on every family: the tokens of an untraced run, and no facts but those that it has."""

from __future__ import annotations

import json
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import secondsight
from secondsight.trace import Trace
from secondsight.trace.patches import find_patches

from .builders import FAMILIES
from .conftest import Loaded

QUESTION = "Is there a dog in the image?"
TOKENS = 5
Q_FORMER = ("InstructBLIP", "BLIP-2 (OPT)")
ONE_PICTURE = ("LLaVA (Qwen 2, SigLIP)", "Gemma 3", "PaliGemma", "PaliGemma 2")
FLATTENED = ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL")
TILES = ("LLaVA-NeXT", "LLaVA-OneVision", "InternVL", "SmolVLM", "Idefics3")


@cache
def wide() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture(scope="module")
def traced(family: Loaded) -> Trace:
    model = family.model
    return model.trace(wide(), QUESTION, "vcd", max_new_tokens=TOKENS, rollout=True)


@pytest.mark.parametrize("method", ["regular", "ritual", "vcd", "m3id"])
def test_tracing_changes_nothing(family: Loaded, method: str) -> None:
    name, model = family.name, family.model
    settings: dict[str, Any] = {"max_new_tokens": TOKENS, "temperature": 1.0, "seed": 2}
    if name in Q_FORMER and method == "m3id":
        with pytest.raises(secondsight.UnsupportedError, match="no form without an image"):
            model.trace(wide(), QUESTION, method, **settings)
        return
    answer = model.answer(wide(), QUESTION, method, **settings)
    trace = model.trace(wide(), QUESTION, method, attentions=method == "ritual", **settings)
    assert (trace.answer.ids, trace.answer.text) == (answer.ids, answer.text)
    assert trace.answer.provenance == answer.provenance


def test_facts(family: Loaded, traced: Trace) -> None:
    """What the report says is what the processor and the model really did."""
    model = family.model
    record = json.loads(traced.to_json())
    inference, splicing = record["inference"], record["inference"]["splicing"]
    inputs = model.encode(wide(), QUESTION)
    ids = inputs["input_ids"][0].tolist()
    slot = model.hf_model.config.image_token_id
    assert inference["image_size"] == [64, 40]
    assert splicing["positions"] == len(ids)
    assert splicing["positions"] - splicing["added"] == len(inference["ids"])
    assert [token for token in inference["ids"] if token != -200] == [
        token for token in ids if token != slot
    ]
    assert all(chunk["with_start"] == chunk["count"] for chunk in inference["chunks"])
    assert QUESTION in inference["prompt"]
    assert "<image>" in inference["prompt"]
    assert inference["pixels"]["shape"] == list(inputs["pixel_values"].shape)
    features = ids.count(slot)
    assert splicing["embeddings"]["shape"][:2] == [1, len(ids)]
    width = record["inference"]["projected"]["shape"][-1]
    assert width == splicing["embeddings"]["shape"][-1]
    projected = inference["projected"]["shape"]
    assert int(np.prod(projected[:-1])) == features or family.name in (
        "LLaVA-NeXT",
        "LLaVA-OneVision",
    )
    counts = {one["name"]: one["parameters"] for one in record["config"]["parameters"]}
    for name in ("vision tower", "projector", "token embeddings", "language model layers"):
        assert counts[name] > 0
    assert ("Q-Former" in counts) == (family.name in Q_FORMER)
    whole = sum(parameter.numel() for parameter in model.hf_model.parameters())
    assert counts.pop("whole model") == sum(counts.values()) == whole
    processor = model.encoder.processor.image_processor
    assert record["config"]["image_processor"]["class"] == type(processor).__name__
    modules = {call["module"] for phase in record["flow"] for call in phase["calls"]}
    layers = next(
        one["module"] for one in record["config"]["parameters"] if "layers" in one["name"]
    )
    assert f"{layers}.0" in modules


def test_teacher_forcing_agrees_with_the_live_run(traced: Trace) -> None:
    """The logit lens after the last layer is what the loop saw token by token."""
    assert len(traced.lens) == len(traced.tokens)
    for token, layers in zip(traced.tokens, traced.lens, strict=True):
        assert len(layers) == 3  # the embeddings and two layers
        assert layers[-1].probability == pytest.approx(token.views[0].probability, abs=1e-4)
        assert layers[-1].top[0].id == token.regular_id


def test_dependence_on_the_image(family: Loaded, traced: Trace) -> None:
    """The first token's probability after the prompt without the image, computed apart."""
    name, model = family.name, family.model
    first = traced.tokens[0]
    if name in Q_FORMER:
        assert first.dependence is None
        assert any("no form without an image" in note for note in traced.notes)
        return
    with torch.no_grad():
        logits = model.hf_model(**model.encode(None, QUESTION)).logits[0, -1]
    assert first.without_image == pytest.approx(float(logits.softmax(-1)[first.id]), abs=1e-5)


def test_attention(family: Loaded, traced: Trace) -> None:
    """Of every view; on the image where the patches form one, and otherwise it says why."""
    name, model = family.name, family.model
    ids = model.encode(wide(), QUESTION)["input_ids"][0]
    slots = int((ids == model.hf_model.config.image_token_id).sum())
    assert [view.view for view in traced.attention] == ["original", "noised"]
    notes = " ".join(traced.notes)
    for view in traced.attention:
        share = view.image_share.mean(axis=0)
        assert view.rollout is not None
        assert view.rollout.shape == view.mean.shape
        if name in Q_FORMER:
            assert view.grid is None
            assert "Q-Former stands between" in notes
        else:
            assert view.grid is not None
            assert view.grid[0] * view.grid[1] == view.mean.shape[1]
        if name in TILES:
            assert "tiles" in notes
            assert view.mean.shape[1] < slots
            assert np.all(view.mean.sum(axis=-1) < share)
        else:
            assert view.mean.shape[1] == slots
            np.testing.assert_allclose(view.mean.sum(axis=-1), share, rtol=1e-4)
        if name in (*ONE_PICTURE, *FLATTENED):
            assert "cannot be drawn" not in notes
    assert not (len(traced.notes) and name in ONE_PICTURE)


def test_the_report(family: Loaded, traced: Trace) -> None:
    page, text = traced.to_html(), traced.to_markdown()
    drawn = family.name not in Q_FORMER
    assert page.count("<canvas data-view=") == (2 if drawn else 0)
    assert page.count('class="card"') == len(traced.tokens)
    for note in traced.notes:
        assert note.split(":")[0] in page
    assert QUESTION in text
    assert "of attention on the image" in page
    titles = [image.title for image in traced.inference.images]
    assert ("the overview tile as the model sees it" in titles) == (family.name in TILES)


def test_kept_tensors(family: Loaded, tmp_path: Path) -> None:
    model = family.model
    trace = model.trace(
        wide(), QUESTION, max_new_tokens=2, layers="all", keep=tmp_path / "kept.safetensors"
    )
    for name in ("vision.projected", "prompt.embeddings", "logits.original", "scores"):
        assert name in trace.kept
    count = len(trace.tokens)
    width = trace.inference.splicing.positions + count - 1
    assert trace.kept["hidden.original.2"][:2] == (1, width)
    assert trace.kept["attention.original.1"][1:] == (count, width)


@pytest.mark.parametrize("name", FLATTENED)
def test_flattened_patches_are_put_together_again(name: str, tmp_path: Path) -> None:
    """An image of just the right size goes through the processor and comes back as it was."""
    built = FAMILIES[name]()
    built.model.save_pretrained(tmp_path)
    built.processor.save_pretrained(tmp_path)
    model = secondsight.load(tmp_path, device="cpu")
    side = built.processor.image_processor.patch_size * 2
    values = np.random.default_rng(1).integers(0, 255, (side, 2 * side, 3), dtype=np.uint8)
    patches = find_patches(model.backbone, model.encode(Image.fromarray(values), QUESTION), 1)
    assert patches is not None
    assert patches.grid == (1, 2)
    assert patches.image is not None
    assert np.abs(np.asarray(patches.image).astype(int) - values).max() <= 1


@pytest.mark.parametrize("name", ["LLaVA (Qwen 2, SigLIP)", "Qwen2-VL", "InternVL", "Idefics3"])
def test_several_images(name: str, tmp_path: Path) -> None:
    built = FAMILIES[name]()
    built.model.save_pretrained(tmp_path)
    built.processor.save_pretrained(tmp_path)
    model = secondsight.load(tmp_path, device="cpu")
    both = [wide(), wide().rotate(180)]
    trace = model.trace(both, QUESTION, "ritual:transform=hflip", max_new_tokens=3)
    assert (
        trace.answer.ids
        == model.answer(both, QUESTION, "ritual:transform=hflip", max_new_tokens=3).ids
    )
    titles = [image.title for image in trace.inference.images]
    assert titles.count("as given") == 2
    if name == "LLaVA (Qwen 2, SigLIP)":
        assert trace.inference.grid == (2, 4)
        slots = torch.tensor(trace.inference.splicing.slots)
        assert len(slots) == 2
    else:
        assert trace.inference.grid is None
        assert any("not drawn" in note for note in trace.notes)
    assert trace.to_html()
    assert trace.to_markdown()


def test_patches_side_by_side_are_in_reading_order(tmp_path: Path) -> None:
    built = FAMILIES["LLaVA (Qwen 2, SigLIP)"]()
    built.model.save_pretrained(tmp_path)
    built.processor.save_pretrained(tmp_path)
    model = secondsight.load(tmp_path, device="cpu")
    black, white = (Image.new("RGB", (28, 28), colour) for colour in ("black", "white"))
    inputs = model.encode([black, white], QUESTION)
    patches = find_patches(model.backbone, inputs, 2)
    assert patches is not None
    first, second = np.split(patches.everywhere.numpy(), 2)
    rows = [first[:2], second[:2], first[2:], second[2:]]
    assert patches.shown.tolist() == list(chain.from_iterable(rows))
    assert patches.image is not None
    shown = np.asarray(patches.image)
    assert shown.shape == (28, 56, 3)
    assert shown[:, :28].max() == 0
    assert shown[:, 28:].min() == 255
