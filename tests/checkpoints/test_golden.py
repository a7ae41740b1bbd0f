"""The golden checkpoint: every tensor, feature, id and pixel comes through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from transformers import CLIPImageProcessorPil, LlavaConfig

import secondsight
from golden import recordings
from golden.recipe import digest, recorded_hashes
from secondsight.checkpoints.llava import LlavaEncoder, image_processor
from secondsight.images import open_image, pad_to_square
from secondsight.prompts import IMAGE_TOKEN_INDEX, Turn, template, tokenize_with_images
from secondsight.sample import Sample
from secondsight.views import add_diffusion_noise, diffusion_coefficients

SEED_IDS = [
    *(1, 319, 13563, 1546, 263, 12758, 5199, 322, 385, 23116, 21082, 20255, 29889, 450, 20255),
    *(4076, 8444, 29892, 13173, 29892, 322, 1248, 568, 6089, 304, 278, 5199, 29915, 29879, 5155),
    *(29889, 3148, 1001, 29901, 29871, -200, 29871, 13, 12148, 8453, 445, 1967, 297, 9493, 29889),
    *(319, 1799, 9047, 13566, 29901),
]
"""The ids in the seed document."""

QUESTION = "Please describe this image in detail."
GoldenModel = Callable[..., secondsight.Model]


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    return recordings.inputs()


@pytest.fixture
def model(golden_model: GoldenModel) -> secondsight.Model:
    return golden_model()


def test_every_tensor_has_the_recorded_hash(model: secondsight.Model) -> None:
    recorded = recorded_hashes("tiny")
    hashes = {name: digest(value) for name, value in model.hf_model.state_dict().items()}
    assert len(recorded) > 50
    assert sorted(hashes.values()) == sorted(recorded.values())
    assert hashes["lm_head.weight"] == recorded["lm_head.weight"]
    language = "model.language_model."
    for name in ("embed_tokens.weight", "layers.1.self_attn.q_proj.weight"):
        assert hashes[language + name] == recorded["model." + name]
    for place, layer in ((0, "linear_1"), (2, "linear_2")):
        wanted = recorded[f"model.mm_projector.{place}.weight"]
        assert hashes[f"model.multi_modal_projector.{layer}.weight"] == wanted


def test_logits_range_over_the_checkpoints_vocabulary(model: secondsight.Model) -> None:
    inputs = model.encode(Image.new("RGB", (60, 40)), QUESTION)
    with torch.no_grad():
        assert model.hf_model(**inputs).logits.shape[-1] == 32000
    assert model.hf_model.config.text_config.vocab_size == 32000


@pytest.mark.parametrize("image", [0, 1])
def test_features(model: secondsight.Model, inputs: dict[str, torch.Tensor], image: int) -> None:
    llava = model.hf_model.model
    pixels = inputs[f"pixel_values_pad_{image}"]
    with torch.no_grad():
        tower = llava.vision_tower(pixels, output_hidden_states=True)
        vision = tower.hidden_states[-2][:, 1:]
        features = llava.get_image_features(pixel_values=pixels).pooler_output
    np.testing.assert_allclose(vision, inputs[f"vision_features_{image}"], atol=1e-4)
    projected = torch.stack(list(features)) if isinstance(features, list | tuple) else features
    np.testing.assert_allclose(
        projected.reshape(1, 16, 64), inputs[f"projected_features_{image}"], atol=1e-4
    )


def test_input_ids_of_every_recorded_prompt(model: secondsight.Model) -> None:
    meta = recordings.meta()
    for question, prompt, ids in zip(
        meta["prompts"], meta["full_prompts"], meta["input_ids"], strict=True
    ):
        rendered = template("llava_v1").render([Turn(question)])
        assert str(rendered) == prompt
        assert tokenize_with_images(rendered, model.tokenizer) == ids


def test_the_seeds_prompt_gives_the_seeds_50_ids(model: secondsight.Model) -> None:
    prompt = template("llava_v1").render([Turn(QUESTION)])
    ids = secondsight.tokenize_with_images(prompt, model.tokenizer)
    assert ids == SEED_IDS
    slot = ids.index(IMAGE_TOKEN_INDEX)
    assert (len(ids), slot, len(ids) - slot - 1) == (50, 35, 14)
    assert secondsight.tokenize_with_images(str(prompt), model.tokenizer) == SEED_IDS


def test_without_the_image_both_29871_stay(model: secondsight.Model) -> None:
    ids = model.encode(None, QUESTION)["input_ids"][0].tolist()
    assert ids == [token for token in SEED_IDS if token != IMAGE_TOKEN_INDEX]
    assert ids[34:36] == [29871, 29871]


def test_encode_puts_a_placeholder_per_patch(model: secondsight.Model) -> None:
    encoded = model.encode(Image.new("RGB", (60, 40)), QUESTION)
    ids = encoded["input_ids"][0].tolist()
    image = model.hf_model.config.image_token_id
    assert ids == [*SEED_IDS[:35], *[image] * 16, *SEED_IDS[36:]]
    assert encoded["attention_mask"].tolist() == [[1] * len(ids)]


def test_625_positions_for_the_seeds_prompt_at_llavas_size(
    model: secondsight.Model, tmp_path: Path
) -> None:
    config = LlavaConfig(  # 24 x 24 patches, as LLaVA-1.5-7B; no weights are made
        vision_config={"image_size": 336, "patch_size": 14, "model_type": "clip_vision_model"},
        text_config={"vocab_size": 32000, "model_type": "llama", "max_position_embeddings": 4096},
        image_token_index=0,
        vision_feature_select_strategy="default",
    )
    processor = image_processor(tmp_path, config)
    encoder = LlavaEncoder(config, model.tokenizer, processor, model.preset)
    sample = Sample(Image.new("RGB", (500, 334)), QUESTION)
    encoded = encoder.encode(sample)
    assert encoded["input_ids"].shape == (1, 625)
    assert int((encoded["input_ids"] == 0).sum()) == 576
    assert encoded["pixel_values"].shape == (1, 3, 336, 336)
    assert encoder.context_length == 2048


@pytest.mark.parametrize("image", [0, 1])
def test_pixel_values(
    model: secondsight.Model, inputs: dict[str, torch.Tensor], image: int
) -> None:
    path = recordings.IMAGES[image]
    encoded = model.encode(path, QUESTION)["pixel_values"]
    np.testing.assert_allclose(encoded, inputs[f"pixel_values_pad_{image}"], atol=1e-5)
    flipped = ImageOps.mirror(open_image(path))
    encoded = model.encode(flipped, QUESTION)["pixel_values"]
    np.testing.assert_allclose(encoded, inputs[f"pixel_values_rawflip_pad_{image}"], atol=1e-5)


@pytest.mark.parametrize("image", [0, 1])
def test_pixel_values_without_padding(
    golden_model: GoldenModel, inputs: dict[str, torch.Tensor], image: int
) -> None:
    model = golden_model(preset="ritual-2024")
    path = recordings.IMAGES[image]
    encoded = model.encode(path, QUESTION)["pixel_values"]
    np.testing.assert_allclose(encoded, inputs[f"pixel_values_nopad_{image}"], atol=1e-5)
    flipped = ImageOps.mirror(open_image(path))
    encoded = model.encode(flipped, QUESTION)["pixel_values"]
    np.testing.assert_allclose(encoded, inputs[f"pixel_values_rawflip_nopad_{image}"], atol=1e-5)


def test_the_reference_photograph(seed: Path) -> None:
    wanted = np.load(seed / "pixel_values_324158.npz")
    processor = CLIPImageProcessorPil(  # CLIP ViT-L/14-336's settings
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    image = open_image(seed / "COCO_val2014_000000324158.jpg")
    assert image.size == (500, 334)
    square = pad_to_square(image, processor.image_mean)
    for name, seen in (("padded", square), ("unpadded", image)):
        pixels = processor(seen, return_tensors="pt")["pixel_values"][0].numpy()
        np.testing.assert_allclose(pixels, wanted[name], atol=1e-5)
    corner = processor(square, return_tensors="pt")["pixel_values"][0, :, 0, 0]
    np.testing.assert_allclose(corner, [-0.0113, -0.0112, -0.0013], atol=6e-5)


@pytest.mark.parametrize("image", [0, 1])
def test_noise(inputs: dict[str, torch.Tensor], image: int) -> None:
    pixels = inputs[f"pixel_values_pad_{image}"]
    steps = {500: f"images_neg_noise500_seed1234_{image}"}
    if image == 0:
        steps |= {step: f"images_neg_noise{step}_seed1234_img0" for step in (0, 1, 999)}
    for step, name in steps.items():
        noised = add_diffusion_noise(pixels, step, torch.Generator().manual_seed(1234))
        np.testing.assert_allclose(noised, inputs[name], atol=1e-6)
        torch.manual_seed(1234)
        np.testing.assert_allclose(add_diffusion_noise(pixels, step), inputs[name], atol=1e-6)


def test_diffusion_coefficients(inputs: dict[str, torch.Tensor]) -> None:
    kept, noise = diffusion_coefficients()
    np.testing.assert_allclose(kept, inputs["vcd_sqrt_alphas_bar"], atol=1e-6)
    np.testing.assert_allclose(noise, inputs["vcd_sqrt_one_minus_alphas_bar"], atol=1e-6)
