"""The original code's own record of a run, and the golden data, against the JSON form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import secondsight
from golden import recordings

QUESTION = "Please describe this image in detail."
PROMPT = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. "
    "USER: <image>\nPlease describe this image in detail. ASSISTANT:"
)
# fmt: off
IDS = [
    1, 319, 13563, 1546, 263, 12758, 5199, 322, 385, 23116, 21082, 20255, 29889, 450, 20255, 4076,
    8444, 29892, 13173, 29892, 322, 1248, 568, 6089, 304, 278, 5199, 29915, 29879, 5155, 29889,
    3148, 1001, 29901, 29871, -200, 29871, 13, 12148, 8453, 445, 1967, 297, 9493, 29889, 319, 1799,
    9047, 13566, 29901,
]
# fmt: on
PADDING = [-0.0113, -0.0112, -0.0013]


def as_json(trace: secondsight.trace.Trace) -> dict[str, Any]:
    return json.loads(trace.to_json())


GoldenModel = Callable[..., secondsight.Model]


@pytest.fixture(scope="module")
def landscape(make_image: Callable[..., Image.Image]) -> Image.Image:
    """An image of the reference photograph's size."""
    return make_image(0, (500, 334))


@pytest.fixture(scope="module")
def recorded(golden_model: GoldenModel, landscape: Image.Image) -> dict[str, Any]:
    """The reference question on the golden checkpoint, sampled at temperature 1."""
    return as_json(
        golden_model().trace(landscape, QUESTION, max_new_tokens=64, temperature=1.0, layers="all")
    )


@pytest.fixture(scope="module")
def llava_336(
    golden_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> secondsight.Model:
    """A LLaVA with CLIP's 336 pixels, few and narrow layers, random weights."""
    folder = tmp_path_factory.mktemp("llava-336")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            image_size=336, patch_size=14, projection_dim=16,
        ),
        text_config=LlamaConfig(
            vocab_size=32064, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        ),
        image_token_index=32000, image_seq_length=576,
    )  # fmt: skip
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    original = golden_checkpoint("tiny")
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).symlink_to(original / name)
    return secondsight.load(folder, device="cpu")


@pytest.fixture(scope="module")
def full_size(llava_336: secondsight.Model, landscape: Image.Image) -> dict[str, Any]:
    """The reference question on the LLaVA with 336 pixels."""
    return as_json(llava_336.trace(landscape, QUESTION, max_new_tokens=3, temperature=1.0))


def test_prompt_and_ids_are_the_originals(recorded: dict[str, Any]) -> None:
    inference = recorded["inference"]
    assert inference["question"] == QUESTION
    assert inference["prompt"] == PROMPT
    assert inference["ids"] == IDS
    assert inference["counts"] == "1 + 34 + 1 + 14 = 50"
    assert [chunk["kind"] for chunk in inference["chunks"]] == ["text", "image", "text"]
    assert [chunk["count"] for chunk in inference["chunks"]] == [34, 1, 14]
    assert [chunk["with_start"] for chunk in inference["chunks"]] == [35, 1, 15]
    assert inference["chunks"][0]["text"].endswith("questions. USER: ")
    assert inference["chunks"][2]["tokens"][:3] == ["\u2581", "<0x0A>", "Please"]
    assert inference["stop"] == "</s>"


def test_conversation_before_and_after(recorded: dict[str, Any]) -> None:
    conversation = recorded["inference"]["conversation"]
    assert conversation["before"] == []
    assert conversation["after"] == [["USER", f"<image>\n{QUESTION}"], ["ASSISTANT", None]]
    assert conversation["roles"] == ["USER", "ASSISTANT"]
    assert conversation["separator"] == " "


def test_the_image_is_padded_to_a_square(full_size: dict[str, Any]) -> None:
    inference = full_size["inference"]
    assert inference["image_size"] == [500, 334]
    sizes = [(image["width"], image["height"]) for image in inference["images"]]
    assert sizes == [(500, 334), (500, 500), (336, 336), (336, 336)]
    pixels = inference["pixels"]
    assert pixels["shape"] == [1, 3, 336, 336]
    assert [round(channel[0][0], 4) for channel in pixels["corners"]] == PADDING
    assert [round(channel[-1][-1], 4) for channel in pixels["corners"]] == PADDING


def test_the_photographs_pixels(llava_336: secondsight.Model, seed: Path) -> None:
    photograph = seed / "COCO_val2014_000000324158.jpg"
    pixels = as_json(llava_336.trace(photograph, QUESTION, max_new_tokens=1))["inference"]["pixels"]
    truth = np.load(seed / "pixel_values_324158.npz")["padded"]
    assert pixels["low"] == pytest.approx(truth.min(), abs=1e-5)
    assert pixels["high"] == pytest.approx(truth.max(), abs=1e-5)
    assert pixels["mean"] == pytest.approx(truth.mean(), abs=1e-5)


def test_50_ids_become_625_positions(full_size: dict[str, Any]) -> None:
    inference = full_size["inference"]
    assert inference["encoded"]["shape"] == [1, 576, 16]
    assert inference["projected"]["shape"] == [1, 576, 16]
    splicing = inference["splicing"]
    assert splicing["ids"] == 50
    assert splicing["slots"] == [35]
    assert splicing["features"] == 576
    assert splicing["added"] == 575
    assert splicing["positions"] == 625
    assert (splicing["image_start"], splicing["image_stop"]) == (35, 611)
    assert (splicing["mask_before"], splicing["mask_after"]) == (50, 625)
    assert splicing["position_ids"] == [0, 624]
    assert splicing["embeddings"]["shape"] == [1, 625, 16]
    assert full_size["generation"]["stages"]["after max tokens"]["max_length"] == 628


def test_generation_configuration_merges(recorded: dict[str, Any]) -> None:
    generation = recorded["generation"]
    before, updated, final = generation["stages"].values()
    assert {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}.items() <= before.items()
    assert before["max_length"] == updated["max_length"] == 4096  # as in the checkpoint's file
    assert "max_new_tokens" not in before
    assert {"do_sample": True, "max_new_tokens": 64}.items() <= updated.items()
    assert final["max_length"] == 65 + 64  # positions, as transformers 5 counts
    assert generation["max_length_ids"] == 114  # ids with one per image, as the original counts


def test_mode_flags_and_special_tokens(recorded: dict[str, Any]) -> None:
    generation = recorded["generation"]
    flags = generation["flags"]
    assert [name for name, value in flags.items() if value] == ["is_sample_gen_mode"]
    for name in ("is_greedy_gen_mode", "is_beam_sample_gen_mode", "is_assisted_gen_mode"):
        assert flags[name] is False
    special = generation["special"]
    assert special["pad_token_id"] == 0
    assert special["eos_token_id"] == 2
    assert special["is_pad_token_not_equal_to_eos_token_id"] is True
    assert special["is_pad_token_in_inputs"] is False
    assert special["is_encoder_decoder"] is False
    assert generation["processors"] == []
    assert generation["warpers"] == []
    assert generation["criteria"][0] == "MaxLengthCriteria(max_length=129)"


def test_config_is_the_checkpoints(recorded: dict[str, Any]) -> None:
    config = recorded["config"]
    assert config["tokenizer"]["class"] == "LlamaTokenizer"
    assert config["tokenizer"]["vocab_size"] == 32000
    assert config["tokenizer"]["model_max_length"] == 2048
    assert config["context_length"] == 2048
    assert "(0-1): 2 x LlamaDecoderLayer(" in config["modules"]
    assert config["image_processor"]["image_mean"] == [0.48145466, 0.4578275, 0.40821073]
    *counts, whole = config["parameters"]
    assert whole["parameters"] == sum(count["parameters"] for count in counts)
    assert (config["dtype"], config["device"]) == ("float32", "cpu")


def test_the_checkpoints_own_configuration_is_shown(
    recorded: dict[str, Any], golden_model: GoldenModel, golden_checkpoint: Callable[[str], Path]
) -> None:
    stored = json.loads((golden_checkpoint("tiny") / "config.json").read_text())
    shown = recorded["config"]["stored_config"]
    assert shown == stored
    assert shown["architectures"] == ["LlavaLlamaForCausalLM"]
    assert shown["image_aspect_ratio"] == "pad"
    assert "mm_vision_tower" in shown
    assert recorded["config"]["model_config"]["architectures"] != shown["architectures"]
    trace = golden_model().trace(None, QUESTION, max_new_tokens=1)
    for report in (trace.to_html(), trace.to_markdown()):
        for name in ("LlavaLlamaForCausalLM", "image_aspect_ratio", "mm_projector_type"):
            assert name in report.partition("# Inference")[0]


def test_output_has_the_originals_form(recorded: dict[str, Any]) -> None:
    output = recorded["output"]
    assert output["sequence"][:50] == IDS
    assert len(output["sequence"]) == 50 + len(output["ids"]) <= 114
    assert output["text"] == recorded["answer"]["text"]
    assert output["kind"] == "GenerateDecoderOnlyOutput"
    assert output["fields"]["sequences"] is not None
    assert output["fields"]["scores"] is None
    assert output["fields"]["attentions"] is None


def test_flow_goes_from_pixels_to_logits(recorded: dict[str, Any]) -> None:
    names = [phase["name"] for phase in recorded["flow"]]
    assert names == ["encoding", "prefill", "decode step 1", "decode step 2"]
    encoding, prefill, first, _ = (phase["calls"] for phase in recorded["flow"])
    assert any(call["name"] == "pad_to_square" for call in encoding)
    modules = [call["module"] for call in prefill]
    order = ["model.vision_tower", "model.multi_modal_projector", "model.language_model", "lm_head"]
    assert sorted(order, key=modules.index) == order
    calls = [
        call for call in prefill if call["module"] == "model.language_model.layers.1.self_attn"
    ]
    assert {call["name"] for call in calls} == {"LlamaAttention.forward"}
    for call, positions in zip(calls, (51, 14), strict=True):  # up to the image, then the question
        assert call["place"].startswith("transformers/models/llama/modeling_llama.py:")
        assert call["inputs"]["hidden_states"] == f"(1, {positions}, 64) float32"
        assert call["outputs"].startswith(f"tuple((1, {positions}, 64) float32")
    assert any(call["name"] == "apply_rotary_pos_emb" for call in prefill)
    assert any(call["name"].endswith("generate") for call in encoding)
    assert any(call["name"] == "Pool.read" for call in prefill)
    decoded = next(call for call in first if call["module"] == "model.language_model.layers.0")
    assert decoded["inputs"]["hidden_states"] == "(1, 1, 64) float32"


def test_features_and_tokens_are_the_golden_ones(golden_model: GoldenModel) -> None:
    arrays, run = recordings.inputs(), recordings.runs("decoding", "regular")[0]
    record = as_json(golden_model().trace(run.image_file, run.question, max_new_tokens=24))
    for name, truth in (
        ("pixels", arrays["pixel_values_pad_0"]),
        ("encoded", arrays["vision_features_0"]),
        ("projected", arrays["projected_features_0"]),
    ):
        facts = record["inference"][name]
        assert facts["shape"] == list(truth.shape)
        corners = np.array(facts["corners"])
        edge = [0, 1, 2, -3, -2, -1]
        wanted = truth[0].squeeze().numpy()[..., edge, :][..., edge]
        np.testing.assert_allclose(corners, wanted, atol=2e-4)
    assert record["output"]["ids"] == run.tokens
    for step, token in enumerate(record["tokens"]):
        assert token["probability"] == pytest.approx(float(run["prob_chosen"][step]), abs=1e-4)
        [view] = token["views"]
        ids = [candidate["id"] for candidate in view["top"][:3]]
        assert ids == run["top_ids"][step][:3].tolist()
        logits = [candidate["logit"] for candidate in view["top"]]
        np.testing.assert_allclose(logits, run["base_top"][step][: len(logits)], atol=2e-4)


@pytest.mark.parametrize("method", ["vcd", "m3id", "ritual"])
def test_cutoff_and_plausible_are_the_golden_ones(golden_model: GoldenModel, method: str) -> None:
    run = recordings.runs("decoding", method)[0]
    record = as_json(
        golden_model().trace(
            run.image_file, run.question, method, max_new_tokens=2, attentions=False
        )
    )
    first = record["tokens"][0]  # depends on the original view alone
    assert first["cutoff"] == pytest.approx(float(run["cutoff"][0]), abs=2e-4)
    assert first["plausible"] == int(run["n_plausible"][0])
