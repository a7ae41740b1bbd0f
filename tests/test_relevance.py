"""Which part of an image a question is about, against LAVIS's own arithmetic done by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import transform
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
    BlipProcessor,
)

import secondsight
from secondsight import relevance
from secondsight.errors import CheckpointError, ImageError, MethodError
from secondsight.relevance import Relevance, blackened, matched, register_relevance

Picture = Callable[..., Image.Image]
WORDS = ("is", "there", "a", "dog", "in", "the", "image", "cat", "?", "what", "colour")


@pytest.fixture(scope="module")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random BLIP with matching and similarity heads: 4 by 4 patches, 7 text layers."""
    folder = tmp_path_factory.mktemp("blip")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join([*special, *WORDS]) + "\n")
    tokenizer = BertTokenizerFast(str(vocabulary))
    text = {
        "vocab_size": len(tokenizer) + 2,
        "hidden_size": 32,
        "encoder_hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
    }
    config = BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=16)
    torch.manual_seed(5)
    model = BlipForImageTextRetrieval(config)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(std=0.3)
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    BlipProcessor(BlipImageProcessor(size=size), tokenizer).save_pretrained(folder)
    return str(folder)


def test_the_map_is_grad_cam_of_the_matching_head(matcher: str, picture: Picture) -> None:
    """Attention of text layer 6 times the positive part of its gradient, done by hand."""
    image = picture(3, (50, 40))
    found = matched(image, "Is there a dog?", matcher)
    assert found.weights.shape == (4, 4)
    model = BlipForImageTextRetrieval.from_pretrained(matcher).eval()
    processor = BlipProcessor.from_pretrained(matcher)
    inputs = processor(images=image, text="is there a dog?", return_tensors="pt")
    sim = model(**inputs, use_itm_head=False).itm_score.item()
    assert found.share == pytest.approx(1 - sim / 2, abs=1e-5)
    asked = inputs["input_ids"].clone()
    asked[0, 0] = model.config.text_config.vocab_size - 1
    taken: list[torch.Tensor] = []

    def take(module: object, given: object, output: tuple[torch.Tensor, ...]) -> None:
        output[1].retain_grad()
        taken.append(output[1])

    model.text_encoder.encoder.layer[6].crossattention.self.register_forward_hook(take)
    score = model(
        input_ids=asked,
        pixel_values=inputs["pixel_values"],
        attention_mask=inputs["attention_mask"],
    )
    score.itm_score[:, 1].sum().backward()
    [weights] = taken
    assert weights.grad is not None
    heat = (weights * weights.grad.clamp(min=0)).mean(dim=1)[0]  # over the heads
    words = heat[1:-1].mean(dim=0)[1:]  # without [CLS] and [SEP], without the image's own token
    np.testing.assert_allclose(found.weights.ravel(), words.detach().numpy(), rtol=1e-4, atol=1e-9)
    assert found.weights.max() > 0


def by_skimage(image: Image.Image, weights: np.ndarray, share: float) -> np.ndarray:
    """AGLA's way from a map to pixels, with the libraries that it uses."""
    spread = weights - weights.min()
    spread = spread / spread.max()
    spread = transform.resize(spread, (384, 384), order=3, mode="constant")
    spread = ndimage.gaussian_filter(spread, 0.02 * 384)
    spread = spread - spread.min()
    spread = spread / spread.max()
    threshold = np.sort(spread, axis=None)[::-1][int(384 * 384 * share)]
    pixels = np.array(image.resize((384, 384), Image.Resampling.BICUBIC))
    pixels[spread < threshold] = 0
    return pixels


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8, 0.99999])
@pytest.mark.parametrize("shape", [(24, 24), (4, 4), (7, 3)])
def test_what_stays(picture: Picture, share: float, shape: tuple[int, int]) -> None:
    image = picture(1, (120, 90))
    weights = np.random.default_rng(2).random(shape)
    have = np.asarray(blackened(image, Relevance(weights.astype(np.float32), share)))
    want = by_skimage(image, weights, share)
    assert have.shape == (384, 384, 3)
    assert (have != want).any(axis=-1).mean() < 1e-3  # float32 moves a few pixels over the edge
    black = (have == 0).all(axis=-1).mean()
    assert black == pytest.approx(1 - share, abs=0.01)


def test_a_flat_map_blackens_nothing(picture: Picture) -> None:
    flat = Relevance(np.ones((24, 24), dtype=np.float32), 0.5)
    image = picture(1)
    resized = image.resize((384, 384), Image.Resampling.BICUBIC)
    corner = np.asarray(blackened(image, flat))[100:200, 100:200]
    np.testing.assert_array_equal(corner, np.asarray(resized)[100:200, 100:200])


@pytest.mark.parametrize("weights", [np.ones(4), np.ones((2, 2, 2)), np.full((3, 3), np.nan)])
def test_no_map(picture: Picture, weights: np.ndarray) -> None:
    with pytest.raises(ImageError, match="map of finite numbers"):
        blackened(picture(1), Relevance(weights, 0.5))


def test_agla_asks_the_matcher(model: secondsight.Model, matcher: str, picture: Picture) -> None:
    image, question = picture(2), "Is there a dog in the image?"
    shown = blackened(image, matched(image, question, matcher))
    asked = f"{question} Please answer this question with one word."
    spec = f"agla:matcher={matcher}"
    answer = model.answer(image, asked, spec, max_new_tokens=5, evidence=True)
    given = model.answer(image, asked, "agla", views=[shown], max_new_tokens=5, evidence=True)
    assert answer.ids == given.ids
    assert answer.evidence
    assert "relevant part" in answer.evidence[0].view_probabilities


def test_ones_own_relevance(model: secondsight.Model, picture: Picture) -> None:
    seen: list[str] = []

    def left(image: Image.Image, question: str) -> Relevance:
        seen.append(question)
        weights = np.zeros((2, 2), dtype=np.float32)
        weights[:, 0] = 1
        return Relevance(weights, 0.5)

    register_relevance("left", left)
    try:
        image = picture(2)
        answer = model.answer(image, "What?", "agla:relevance=left", max_new_tokens=4)
        shown = blackened(image, left(image, "What?"))
        assert (
            answer.ids == model.answer(image, "What?", "agla", views=[shown], max_new_tokens=4).ids
        )
    finally:
        del relevance._FINDERS["left"]
    assert seen == ["What?", "What?"]
    with pytest.raises(MethodError, match="no relevance 'left'"):
        secondsight.methods.create("agla:relevance=left")


def test_a_matcher_that_is_missing(
    model: secondsight.Model, picture: Picture, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"matching model .* cannot be loaded"):
        model.answer(picture(2), "What?", f"agla:matcher={tmp_path / 'nowhere'}")


def test_an_image_is_needed(model: secondsight.Model) -> None:
    with pytest.raises(ImageError):
        model.answer(None, "What?", "agla")


@pytest.mark.parametrize(("spec", "count"), [("agla", 2), ("vcd", 3), ("regular", 1)])
def test_views_of_ones_own_are_counted(
    model: secondsight.Model, picture: Picture, spec: str, count: int
) -> None:
    with pytest.raises(MethodError, match=rf"and views= holds {count}"):
        model.answer(picture(1), "What?", spec, views=[picture(2)] * count)
