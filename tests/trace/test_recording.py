"""Recording changes nothing, keeps what is asked for, and says what it cannot do."""

from __future__ import annotations

import base64
import functools
import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import secondsight
from secondsight import methods
from secondsight.benchmarks.sticker_source import sticker_images
from secondsight.decoding import SCHEDULES
from secondsight.trace import Trace
from secondsight.trace.config import plain
from secondsight.trace.layers import parse_layers

QUESTION = "Is there a dog in the image?"


@pytest.mark.parametrize(
    "method", [name for name in methods.names() if methods.create(name).checks() is None]
)
def test_traced_equals_untraced(
    model: secondsight.Model, photograph: Image.Image, method: str
) -> None:
    for number, schedule in enumerate(SCHEDULES):
        # Greedy and drawn, over the schedules; sampling follows the sample's own numbers.
        settings = {"max_new_tokens": 10, "temperature": float(number != 1), "seed": 3}
        if method == "agla":  # its second image takes another model, which is not here
            settings["views"] = [photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        answer = model.answer(photograph, QUESTION, method, schedule=schedule, **settings)
        traced = model.trace(
            photograph, QUESTION, method, schedule=schedule, attentions=number == 0, **settings
        )
        assert traced.answer.ids == answer.ids
        assert traced.answer.text == answer.text
        assert traced.answer.provenance == answer.provenance


def test_the_model_is_left_as_it_was(model: secondsight.Model, photograph: Image.Image) -> None:
    before = model.hf_model.config.text_config._attn_implementation
    profile = sys.getprofile()
    model.trace(photograph, QUESTION, "vcd", max_new_tokens=3)
    assert model.hf_model.config.text_config._attn_implementation == before
    assert sys.getprofile() is profile
    for module in model.hf_model.modules():  # transformers leaves some of its own
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not [hook for hook in hooks if hook.__module__.startswith("secondsight")]


def test_a_broken_run_leaves_no_hook(
    model: secondsight.Model, photograph: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = sys.getprofile()

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(model.hf_model, "generate", broken)
    with pytest.raises(RuntimeError, match="on purpose"):
        model.trace(photograph, QUESTION)
    assert sys.getprofile() is profile
    assert not model.hf_model.get_decoder()._forward_pre_hooks


def test_evidence_agrees_with_answers(model: secondsight.Model, photograph: Image.Image) -> None:
    settings = {"max_new_tokens": 8, "temperature": 1.0, "seed": 5}
    answer = model.answer(photograph, QUESTION, "ritual", evidence=True, **settings)
    trace = model.trace(photograph, QUESTION, "ritual", **settings)
    assert answer.evidence is not None
    for token, evidence in zip(trace.tokens, answer.evidence, strict=False):
        assert token.id == evidence.id
        assert token.plausible == evidence.plausible
        assert token.changed == evidence.changed
        assert token.regular_id == evidence.regular_id
        assert token.probability == pytest.approx(evidence.probability, abs=1e-5)
        given = [view.probability for view in token.views]
        assert given == pytest.approx(list(evidence.view_probabilities.values()), abs=1e-5)


def test_what_a_method_decided_is_shown(model: secondsight.Model, photograph: Image.Image) -> None:
    settings = {"max_new_tokens": 4}
    answer = model.answer(photograph, QUESTION, "dola", evidence=True, **settings)
    trace = model.trace(photograph, QUESTION, "dola", **settings)
    assert answer.evidence is not None
    assert answer.evidence[0].facts
    for token, evidence in zip(trace.tokens, answer.evidence, strict=False):
        assert token.facts == plain(evidence.facts)
    for report in (trace.to_html(), trace.to_markdown()):
        assert "The method's layer" in report


@pytest.mark.parametrize(("method", "fact"), [("sid", "kept_tokens"), ("avisc", "blind_tokens")])
def test_image_tokens_that_a_method_chose_are_lit_in_the_image(
    model: secondsight.Model, photograph: Image.Image, method: str, fact: str
) -> None:
    trace = model.trace(photograph, "Is there a dog in the image?", method, max_new_tokens=2)
    places = set(trace.tokens[0].facts[fact])
    rows, columns = trace.attention[0].grid or (0, 0)
    assert 0 < len(places) < rows * columns
    title = fact.replace("_", " ")
    lit = re.findall(rf'<img src="([^"]+)" alt="The image, bright at the method\'s {title}">',
                     trace.to_html())  # fmt: skip
    assert len(lit) == sum(fact in token.facts for token in trace.tokens) > 0
    with Image.open(io.BytesIO(base64.b64decode(lit[0].partition(",")[2]))) as opened:
        colours = np.asarray(opened.convert("RGB"), dtype=float)
    shown = colours[..., 0] - colours[..., 2]
    high, wide = shown.shape[0] / rows, shown.shape[1] / columns
    amber = [
        shown[round((n // columns + 0.5) * high), round((n % columns + 0.5) * wide)]
        for n in range(rows * columns)
    ]
    inside = np.array([amber[n] for n in range(rows * columns) if n in places])
    outside = np.array([amber[n] for n in range(rows * columns) if n not in places])
    assert inside.min() > outside.max() + 10  # amber on grey


def test_teacher_forcing_agrees_with_the_live_run(trace: Trace) -> None:
    for token, layers in zip(trace.tokens, trace.lens, strict=True):
        assert layers[-1].probability == pytest.approx(token.views[0].probability, abs=1e-4)
        assert layers[-1].top[0].id == token.regular_id
        assert [layer.layer for layer in layers] == list(range(len(layers)))


def test_a_lens_that_leaves_something_out_says_so(
    model: secondsight.Model, photograph: Image.Image, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = model.hf_model.forward

    @functools.wraps(forward)
    def scaled(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits / 16
        return output

    monkeypatch.setattr(model.hf_model, "forward", scaled)
    other = model.trace(photograph, QUESTION, max_new_tokens=2, attentions=False)
    assert any("such as scaling" in note for note in other.notes)
    assert "such as scaling" in other.to_html()
    assert trace.notes == ()


def test_dependence_is_that_of_the_view_without_image(
    model: secondsight.Model, photograph: Image.Image
) -> None:
    # M3ID has that view in its live run; the teacher-forced pass of regular's must agree.
    live = model.trace(photograph, QUESTION, "m3id", max_new_tokens=6)
    again = model.trace(photograph, QUESTION, "regular", max_new_tokens=6)
    assert live.tokens[0].id == again.tokens[0].id
    first, second = live.tokens[0], again.tokens[0]
    assert first.without_image == pytest.approx(second.without_image, rel=1e-3)
    assert first.dependence == pytest.approx(
        np.log2(first.views[0].probability / first.views[1].probability), abs=1e-3
    )


def test_attention_is_a_distribution_over_patches(trace: Trace) -> None:
    original, other = trace.attention
    assert (original.view, other.view) == ("original", "transformed")
    tokens, patches = original.mean.shape
    assert (tokens, patches) == (len(trace.tokens), 9)
    assert trace.inference.grid == (3, 3)
    assert original.layers.values.shape == (2, tokens, patches)
    assert sorted(original.heads) == [0, 1]
    assert original.heads[0].values.shape == (4, tokens, patches)
    assert original.rollout is not None
    assert np.all(original.image_share > 0)
    assert np.all(original.image_share < 1)
    layers = original.layers.values / 255 * original.layers.peaks[..., None]
    np.testing.assert_allclose(layers.mean(axis=0), original.mean, atol=2e-3)
    heads = np.stack([m.values / 255 * m.peaks[..., None] for m in original.heads.values()])
    np.testing.assert_allclose(heads.mean(axis=(0, 1)), original.mean, atol=2e-3)


def test_without_attentions_there_are_none(
    model: secondsight.Model, photograph: Image.Image
) -> None:
    trace = model.trace(photograph, QUESTION, max_new_tokens=3, attentions=False)
    assert trace.attention == ()
    assert len(trace.lens) == len(trace.tokens)
    assert "data-view" not in trace.to_html().split("<script")[0]


def test_without_an_image(model: secondsight.Model) -> None:
    trace = model.trace(None, QUESTION, max_new_tokens=4)
    assert trace.inference.pixels is None
    assert trace.inference.splicing.added == 0
    assert trace.tokens[0].dependence is None
    assert "No image." in trace.to_html()
    assert trace.to_markdown()


def test_layers_unfold_calls(model: secondsight.Model, photograph: Image.Image) -> None:
    def layers(trace: Trace) -> list[tuple[str | None, int]]:
        prefill = trace.flow[1].calls
        return [
            (call.module, call.repeats)
            for call in prefill
            if call.name == "LlamaDecoderLayer.forward"
        ]

    name = "model.language_model.layers"
    folded = model.trace(photograph, QUESTION, max_new_tokens=2, attentions=False)
    # The beginning that questions on an image share, then the rest.
    assert layers(folded) == [(f"{name}.0", 2), (f"{name}.0", 2)]
    shown = model.trace(photograph, QUESTION, max_new_tokens=2, attentions=False, layers=[1])
    assert layers(shown) == 2 * [(f"{name}.0", 1), (f"{name}.1", 1)]


def test_keep_writes_whole_tensors(
    model: secondsight.Model, photograph: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "tensors.safetensors"
    trace = model.trace(photograph, QUESTION, "vcd", max_new_tokens=4, keep=path)
    kept = load_file(path)
    assert {name: tensor.shape for name, tensor in kept.items()} == dict(trace.kept)
    count = len(trace.tokens)
    positions = trace.inference.splicing.positions
    assert kept["inputs.noised.pixel_values"].shape == (1, 3, 42, 42)
    assert kept["logits.original"].shape[0] == kept["scores"].shape[0] == count
    assert kept["attention.noised.1"].shape == (4, count, positions + count - 1)
    assert kept["hidden.original.2"].shape == (1, positions + count - 1, 64)
    assert kept["vision.projected"].shape == (1, 9, 64)
    assert trace.output.ids == model.answer(photograph, QUESTION, "vcd", max_new_tokens=4).ids
    for field in ("scores", "logits", "hidden_states"):
        assert trace.output.fields[field] is not None
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("method", ["m3id", "ritual+vcd"])
def test_embeddings_are_those_of_the_original_view(
    model: secondsight.Model, photograph: Image.Image, tmp_path: Path, method: str
) -> None:
    path = tmp_path / "tensors.safetensors"
    trace = model.trace(photograph, QUESTION, method, max_new_tokens=2, keep=path)
    kept = load_file(path)
    ids = torch.from_numpy(kept["inputs.original.input_ids"])
    wanted = model.hf_model.get_input_embeddings()(ids).detach().numpy().copy()
    wanted[ids.numpy() == model.hf_model.config.image_token_id] = kept["vision.projected"][0]
    np.testing.assert_array_equal(kept["prompt.embeddings"], wanted)
    assert trace.inference.splicing.position_ids == (0, ids.shape[1] - 1)
    np.testing.assert_array_equal(kept["prompt.position_ids"], [np.arange(ids.shape[1])])


def test_other_threads_answer_as_ever_meanwhile(
    model: secondsight.Model, photograph: Image.Image
) -> None:
    settings = {"max_new_tokens": 12, "temperature": 1.0}
    alone = model.answer(photograph, QUESTION, "vcd", **settings)
    traced = model.trace(photograph, QUESTION, "ritual", **settings)
    with ThreadPoolExecutor(3) as threads:
        others = [
            threads.submit(model.answer, photograph, QUESTION, "vcd", **settings) for _ in range(6)
        ]
        again = model.trace(photograph, QUESTION, "ritual", **settings)
    assert [other.result().ids for other in others] == [alone.ids] * 6
    assert again.answer.ids == traced.answer.ids
    assert again.inference == traced.inference
    assert [one.mean.tolist() for one in again.attention] == [
        one.mean.tolist() for one in traced.attention
    ]


@pytest.mark.parametrize("layers", ["7", "x", "0-", "1,,z", "-1"])
def test_unknown_layers_are_refused(
    model: secondsight.Model, photograph: Image.Image, layers: str
) -> None:
    with pytest.raises(secondsight.UserError, match="layer"):
        model.trace(photograph, QUESTION, layers=layers)


def test_layers_are_read_from_text() -> None:
    assert parse_layers("0,2-4", 8) == {0, 2, 3, 4}
    assert parse_layers("all", 3) == {0, 1, 2}
    assert parse_layers("", 3) == frozenset()


def test_a_folder_cannot_be_kept_to(
    model: secondsight.Model, photograph: Image.Image, tmp_path: Path
) -> None:
    with pytest.raises(secondsight.UserError, match="folder"):
        model.trace(photograph, QUESTION, keep=tmp_path)


@pytest.mark.parametrize(
    "method", ["vcd", "pai", "pai:gamma=1", "sid", "avisc:fill=noise", "vista"]
)
def test_the_pass_over_the_answer_shows_what_was_read_token_by_token(
    model: secondsight.Model, photograph: Image.Image, tmp_path: Path, method: str
) -> None:
    """Whatever a view changes inside the model: its last states give the logits of that step."""
    path = tmp_path / "kept.safetensors"
    trace = model.trace(photograph, QUESTION, method, keep=path, max_new_tokens=6, seed=1)
    kept = load_file(path)
    depth = model.hf_model.config.text_config.num_hidden_layers
    decoder = model.hf_model.get_decoder()
    for view in trace.views:
        prompt = kept[f"inputs.{view.name}.input_ids"].shape[1]
        last = torch.from_numpy(kept[f"hidden.{view.name}.{depth}"])[0, prompt - 1 :]
        with torch.inference_mode():
            shown = model.hf_model.lm_head(decoder.norm(last)).numpy()
        live = kept[f"logits.{view.name}"]
        np.testing.assert_allclose(shown, live, atol=2e-4)


def test_doubtful_words_are_marked() -> None:
    """By the doubts of the answer itself, whether the method would repair it or not."""
    image = list(sticker_images("conflict").values())[4]()
    model = secondsight.load()
    asked = model.answer(image, "Describe this image.", doubts=True, max_new_tokens=16)
    traced = model.trace(image, "Describe this image.", "check", max_new_tokens=16)
    assert traced.answer.text == asked.text
    doubtful = [one for one in asked.doubts or () if one.probability > 0.3]
    assert doubtful
    assert traced.answer.provenance["checking"] == asked.provenance["checking"]
    marked = [word for word in traced.words if word.doubtful]
    assert [word.text.strip() for word in marked] == [one.text for one in doubtful]
    assert [word.doubt for word in marked] == pytest.approx(
        [one.probability for one in doubtful], abs=1e-4
    )
    page, plain = traced.to_html(), traced.to_markdown()
    assert page.count(' doubtful"') == 1 + len(marked)
    assert "likely made up" in page
    assert f"- {doubtful[0].text} (count of {doubtful[0].object}): " in plain
    unasked = model.trace(image, "Describe this image.", max_new_tokens=4, attentions=False)
    assert all(word.doubt is None for word in unasked.words)
    assert 'doubtful"' not in unasked.to_html()
