"""The shipped model folder: complete, small, and as good as its card says."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from training.data import Packer
from training.evaluate import Model, evaluate
from training.targets import Shape
from training.tokenizer import BUNDLED, IMAGE_ID
from training.wordings import UNKNOWN

pytestmark = pytest.mark.skipif(
    not (BUNDLED / "model.safetensors").exists(), reason="the bundled weights are not there"
)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(BUNDLED)


def test_the_folder_is_whole_and_small() -> None:
    sizes = {path.name: path.stat().st_size for path in BUNDLED.iterdir()}
    wanted = {
        "README.md", "config.json", "generation_config.json", "model.safetensors",
        "preprocessor_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    }  # fmt: skip
    assert wanted <= set(sizes)
    assert sum(sizes.values()) < 20_000_000


def test_plain_transformers_load_it() -> None:
    from transformers import CLIPImageProcessor, LlamaTokenizer, LlavaForConditionalGeneration

    net = LlavaForConditionalGeneration.from_pretrained(BUNDLED)
    assert net.config.vision_feature_layer == -2
    assert net.config.vision_feature_select_strategy == "default"
    assert net.config.image_seq_length == Shape().patches
    assert net.config.image_token_id == IMAGE_ID
    assert net.generation_config.eos_token_id == 2
    assert all(torch.isfinite(p).all() for p in net.parameters())
    processor = CLIPImageProcessor.from_pretrained(BUNDLED)
    pixels = processor(Image.new("RGB", (90, 40)), return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, Shape().image, Shape().image)
    tokenizer = LlamaTokenizer.from_pretrained(BUNDLED)
    text = "Is there a wine glass in the image?"
    expected = Packer(Shape()).sp.encode(text)
    assert tokenizer(text, add_special_tokens=False).input_ids == expected


def test_both_files_of_the_tokenizer_say_the_same(tmp_path: Path) -> None:
    """`tokenizer.json` is read; whoever has sentencepiece reads the same in `tokenizer.model`."""
    from transformers import AutoProcessor, AutoTokenizer, LlamaTokenizer

    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(BUNDLED / name, tmp_path)
    pieces = LlamaTokenizer.from_pretrained(tmp_path)
    own = LlamaTokenizer.from_pretrained(BUNDLED)
    auto = AutoTokenizer.from_pretrained(BUNDLED)
    read = (own, auto, AutoProcessor.from_pretrained(BUNDLED).tokenizer)
    spoken = Packer(Shape()).sp
    draws = random.Random(0)
    letters = [chr(code) for code in (*range(9, 700), 0x200D, 0x4E00, 0x1F600)]
    texts = ["".join(draws.choices(letters, k=length)) for length in range(200)]
    words = [spoken.decode([token]) for token in range(3, spoken.get_piece_size())]
    texts += [" ".join(draws.choices(words, k=length)).strip() for length in range(100)]
    for text in texts:
        assert own(text, add_special_tokens=False).input_ids == spoken.encode(text)
    texts += [UNKNOWN, "<image>a </s> b<pad>", "USER: <image>\nIs it? ASSISTANT:", "  a  "]
    for text in texts:
        for split in (False, True):
            options = {"split_special_tokens": split}
            ids = pieces(text, **options).input_ids
            for one in read:
                assert one(text, **options).input_ids == ids
                assert one.decode(ids) == pieces.decode(ids)


def test_it_describes_and_answers(model: Model) -> None:
    """A part of the evaluation, with room for the smaller sample."""
    report = evaluate(model, "test", 12)
    assert report["pope_random"]["accuracy"] > 0.95
    assert report["captions"]["recall"] > 0.9
    assert report["captions"]["chair_i"] < 0.09
    assert all(text.endswith(".") for text in report["examples"])


@pytest.mark.slow
def test_the_card_is_true(model: Model) -> None:
    card = {r["split"]: r for r in json.loads((BUNDLED / "scores.json").read_text())}
    for split in card:
        report = evaluate(model, split, card[split]["scenes"])
        for part in ("pope_random", "pope_adversarial", "mme_count", "mme_color"):
            expected = card[split][part]["accuracy"]
            assert report[part]["accuracy"] == pytest.approx(expected, abs=0.01), (split, part)
        for key in ("recall", "chair_i"):
            expected = card[split]["captions"][key]
            assert report["captions"][key] == pytest.approx(expected, abs=0.01), (split, key)


@pytest.mark.slow
def test_photographs_are_not_stickers(model: Model, photographs: list[Image.Image]) -> None:
    """At least half of the sample photographs are answered by "I only know sticker scenes"."""
    questions = ["Describe this image."] * len(photographs)
    texts = model.ask([model.pixels(p) for p in photographs], questions, 60, 8)
    assert sum(UNKNOWN in t for t in texts) >= 0.5 * len(texts)
