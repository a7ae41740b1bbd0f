"""The golden checkpoint: every tensor, feature, id and pixel comes through."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from transformers import CLIPImageProcessorPil, LlavaConfig

import secondsight
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
FILES = ("img0_landscape_96x64.png", "img1_portrait_45x80.png")


@pytest.fixture(scope="module")
def inputs(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "decoding" / "inputs.npz"))


def test_every_tensor_has_the_recorded_hash(golden: Path, golden_model: secondsight.Model) -> None:
    recorded = json.loads((golden / "ckpt" / "tensor_sha256.json").read_text())
    weights = golden_model.hf_model.state_dict()
    hashes = {
        name: hashlib.sha256(value.float().contiguous().numpy().tobytes()).hexdigest()
        for name, value in weights.items()
    }
    wanted = [
        (group, name, entry["sha256"])
        for group, entries in recorded.items()
        for name, entry in entries.items()
        if not name.endswith(("rotary_emb.inv_freq", "position_ids"))
    ]
    assert len(wanted) > 50
    have = sorted(hashes.values())
    missing = [(group, name) for group, name, digest in wanted if digest not in have]
    assert not missing
    assert len(hashes) == len(wanted), "no tensor beyond the recorded ones"
    embedding = recorded["llava"]["model.embed_tokens.weight"]["sha256"]
    assert hashes["model.language_model.embed_tokens.weight"] == embedding
    assert hashes["lm_head.weight"] == recorded["llava"]["lm_head.weight"]["sha256"]
    query = recorded["llava"]["model.layers.1.self_attn.q_proj.weight"]["sha256"]
    assert hashes["model.language_model.layers.1.self_attn.q_proj.weight"] == query
    for place, layer in ((0, "linear_1"), (2, "linear_2")):
        digest = recorded["llava"][f"model.mm_projector.{place}.weight"]["sha256"]
        assert hashes[f"model.multi_modal_projector.{layer}.weight"] == digest


def test_logits_range_over_the_checkpoints_vocabulary(golden_model: secondsight.Model) -> None:
    inputs = golden_model.encode(Image.new("RGB", (60, 40)), QUESTION)
    with torch.no_grad():
        assert golden_model.hf_model(**inputs).logits.shape[-1] == 32000
    assert golden_model.hf_model.config.text_config.vocab_size == 32000


@pytest.mark.parametrize("image", [0, 1])
def test_features(
    golden_model: secondsight.Model, inputs: dict[str, np.ndarray], image: int
) -> None:
    llava = golden_model.hf_model.model
    pixels = torch.from_numpy(inputs[f"pixel_values_pad_{image}"])
    with torch.no_grad():
        tower = llava.vision_tower(pixels, output_hidden_states=True)
        vision = tower.hidden_states[-2][:, 1:]
        features = llava.get_image_features(pixel_values=pixels).pooler_output
    np.testing.assert_allclose(vision, inputs[f"vision_features_{image}"], atol=1e-4)
    projected = torch.stack(list(features)) if isinstance(features, list | tuple) else features
    np.testing.assert_allclose(
        projected.reshape(1, 16, 64), inputs[f"projected_features_{image}"], atol=1e-4
    )


def test_input_ids_of_every_recorded_prompt(
    golden: Path, golden_model: secondsight.Model, inputs: dict[str, np.ndarray]
) -> None:
    meta = json.loads((golden / "decoding" / "meta.json").read_text())
    for number, prompt in enumerate(meta["full_prompts"]):
        ids = tokenize_with_images(prompt, golden_model.tokenizer)
        assert ids == inputs[f"input_ids_{number}"][0].tolist()
    for number, question in enumerate(meta["prompts"]):
        rendered = template("llava_v1").render([Turn(question)])
        assert str(rendered) == meta["full_prompts"][number]
        ids = tokenize_with_images(rendered, golden_model.tokenizer)
        assert ids == inputs[f"input_ids_{number}"][0].tolist()


def test_the_seeds_prompt_gives_the_seeds_50_ids(golden_model: secondsight.Model) -> None:
    prompt = template("llava_v1").render([Turn(QUESTION)])
    ids = secondsight.tokenize_with_images(prompt, golden_model.tokenizer)
    assert ids == SEED_IDS
    slot = ids.index(IMAGE_TOKEN_INDEX)
    assert (len(ids), slot, len(ids) - slot - 1) == (50, 35, 14)
    assert secondsight.tokenize_with_images(str(prompt), golden_model.tokenizer) == SEED_IDS


def test_without_the_image_both_29871_stay(golden_model: secondsight.Model) -> None:
    ids = golden_model.encode(None, QUESTION)["input_ids"][0].tolist()
    assert ids == [token for token in SEED_IDS if token != IMAGE_TOKEN_INDEX]
    assert ids[34:36] == [29871, 29871]


def test_encode_puts_a_placeholder_per_patch(golden_model: secondsight.Model) -> None:
    encoded = golden_model.encode(Image.new("RGB", (60, 40)), QUESTION)
    ids = encoded["input_ids"][0].tolist()
    image = golden_model.hf_model.config.image_token_id
    assert ids == [*SEED_IDS[:35], *[image] * 16, *SEED_IDS[36:]]
    assert encoded["attention_mask"].tolist() == [[1] * len(ids)]


def test_625_positions_for_the_seeds_prompt_at_llavas_size(
    golden_model: secondsight.Model, tmp_path: Path
) -> None:
    config = LlavaConfig(  # 24 x 24 patches, as LLaVA-1.5-7B; no weights are made
        vision_config={"image_size": 336, "patch_size": 14, "model_type": "clip_vision_model"},
        text_config={"vocab_size": 32000, "model_type": "llama", "max_position_embeddings": 4096},
        image_token_index=0,
        vision_feature_select_strategy="default",
    )
    processor = image_processor(tmp_path, config)
    encoder = LlavaEncoder(config, golden_model.tokenizer, processor, golden_model.preset)
    sample = Sample(Image.new("RGB", (500, 334)), QUESTION)
    encoded = encoder.encode(sample)
    assert encoded["input_ids"].shape == (1, 625)
    assert int((encoded["input_ids"] == 0).sum()) == 576
    assert encoded["pixel_values"].shape == (1, 3, 336, 336)
    assert encoder.context_length == 2048


@pytest.mark.parametrize("image", [0, 1])
def test_pixel_values(
    golden: Path, golden_model: secondsight.Model, inputs: dict[str, np.ndarray], image: int
) -> None:
    path = golden / "images" / FILES[image]
    encoded = golden_model.encode(path, QUESTION)["pixel_values"]
    np.testing.assert_allclose(encoded, inputs[f"pixel_values_pad_{image}"], atol=1e-5)
    flipped = ImageOps.mirror(open_image(path))
    encoded = golden_model.encode(flipped, QUESTION)["pixel_values"]
    np.testing.assert_allclose(encoded, inputs[f"pixel_values_rawflip_pad_{image}"], atol=1e-5)


@pytest.mark.parametrize("image", [0, 1])
def test_pixel_values_without_padding(
    golden: Path, inputs: dict[str, np.ndarray], image: int
) -> None:
    model = secondsight.load(
        golden / "ckpt" / "llava-tiny-v1.5", device="cpu", preset="ritual-2024"
    )
    path = golden / "images" / FILES[image]
    encoded = model.encode(path, QUESTION)["pixel_values"]
    np.testing.assert_allclose(encoded, inputs[f"pixel_values_nopad_{image}"], atol=1e-5)
    flipped = ImageOps.mirror(open_image(path))
    encoded = model.encode(flipped, QUESTION)["pixel_values"]
    np.testing.assert_allclose(encoded, inputs[f"pixel_values_rawflip_nopad_{image}"], atol=1e-5)


@pytest.mark.parametrize("padded", [True, False])
def test_the_seeds_photograph(seed: Path, padded: bool) -> None:
    want = np.load(seed / "pixel_values_324158.npz")["padded" if padded else "unpadded"]
    processor = CLIPImageProcessorPil(  # CLIP ViT-L/14-336's settings, from the seed document
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    picture = open_image(seed / "COCO_val2014_000000324158.jpg")
    assert picture.size == (500, 334)
    if padded:
        picture = pad_to_square(picture, processor.image_mean)
    pixels = processor(picture, return_tensors="pt")["pixel_values"][0].numpy()
    np.testing.assert_allclose(pixels, want, atol=1e-5)
    if padded:
        np.testing.assert_allclose(pixels[:, 0, 0], [-0.0113, -0.0112, -0.0013], atol=6e-5)


@pytest.mark.parametrize("image", [0, 1])
def test_noise(inputs: dict[str, np.ndarray], image: int) -> None:
    pixels = torch.from_numpy(inputs[f"pixel_values_pad_{image}"])
    steps = {500: f"images_neg_noise500_seed1234_{image}"}
    if image == 0:
        steps |= {step: f"images_neg_noise{step}_seed1234_img0" for step in (0, 1, 999)}
    for step, name in steps.items():
        noised = add_diffusion_noise(pixels, step, torch.Generator().manual_seed(1234))
        np.testing.assert_allclose(noised, inputs[name], atol=1e-6)
        torch.manual_seed(1234)
        np.testing.assert_allclose(add_diffusion_noise(pixels, step), inputs[name], atol=1e-6)


def test_diffusion_coefficients(inputs: dict[str, np.ndarray]) -> None:
    kept, noise = diffusion_coefficients()
    np.testing.assert_allclose(kept, inputs["vcd_sqrt_alphas_bar"], atol=1e-6)
    np.testing.assert_allclose(noise, inputs["vcd_sqrt_one_minus_alphas_bar"], atol=1e-6)
