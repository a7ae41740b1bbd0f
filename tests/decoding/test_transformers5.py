"""Each private name of transformers that the engine stands on, one test a name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import transformers
from transformers import GenerationConfig, GenerationMixin
from transformers.utils import ModelOutput

import secondsight
from secondsight.decoding import transformers5
from secondsight.decoding.transformers5 import CACHE


@pytest.fixture(scope="module")
def inputs(model: secondsight.Model) -> dict[str, Any]:
    return model.encode(None, "Is there a dog?")


def test_the_cache_argument(model: secondsight.Model, inputs: dict[str, Any]) -> None:
    """Models take the cache by this name and give it back by it."""
    assert CACHE in inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
    with torch.no_grad():
        assert model.hf_model(**inputs, use_cache=True)[CACHE].get_seq_length() > 0


def test_hidden_arguments(model: secondsight.Model, inputs: dict[str, Any]) -> None:
    found: dict[str, Any] = {}

    def loop(model: Any, input_ids: torch.Tensor, **given: Any) -> torch.Tensor:
        found.update(transformers5.hidden_arguments())
        return input_ids

    class Heard:
        def put(self, value: Any) -> None: ...

        def end(self) -> None: ...

    streamer = Heard()
    model.hf_model.generate(**inputs, custom_generate=loop, streamer=streamer, max_new_tokens=2)
    assert set(found) == set(transformers5.HIDDEN_ARGUMENTS)
    assert found["streamer"] is streamer
    assert transformers5.hidden_arguments() == {}


def test_padding_token(model: secondsight.Model, inputs: dict[str, Any]) -> None:
    found: list[GenerationConfig] = []

    def loop(model: Any, input_ids: torch.Tensor, generation_config: Any, **given: Any) -> Any:
        found.append(generation_config)
        return input_ids

    model.hf_model.generate(**inputs, custom_generate=loop, max_new_tokens=2)
    assert transformers5.padding_token(found[0]) == model.hf_model.generation_config.pad_token_id


def test_prompt_positions(model: secondsight.Model) -> None:
    ids = torch.tensor([[7, 8, 9], [7, 8, 9]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    found = transformers5.prompt_positions(
        model.hf_model, {"input_ids": ids, "attention_mask": mask}
    )
    assert found[0, 1:].tolist() == [0, 1]
    assert found[1].tolist() == [0, 1, 2]


def test_next_token_types(model: secondsight.Model) -> None:
    kinds = torch.tensor([[0, 1, 1], [1, 0, 0]])
    want = model.hf_model._update_model_kwargs_for_generation(
        ModelOutput(), {"token_type_ids": kinds}
    )["token_type_ids"]
    assert transformers5.next_token_types(model.hf_model, kinds).tolist() == want[:, -1:].tolist()


def test_encode_images(model: secondsight.Model) -> None:
    """What it returns makes the same logits as the pixels themselves."""
    image = secondsight.demo_image()
    given = model.encode(image, "Is there a dog?")
    with torch.no_grad():
        encoded = transformers5.encode_images(model.hf_model, given)
        have = model.hf_model(**encoded).logits
        want = model.hf_model(**given).logits
    torch.testing.assert_close(have, want, atol=1e-5, rtol=1e-5)


def test_attention_implementation(model: secondsight.Model) -> None:
    text = model.hf_model.config.text_config
    before = transformers5.attention_implementation(text)
    assert before == "sdpa"
    model.hf_model.set_attn_implementation("eager")
    try:
        assert transformers5.attention_implementation(text) == "eager"
    finally:
        model.hf_model.set_attn_implementation(before)


def test_the_tokenizer_is_remembered(model: secondsight.Model) -> None:
    assert transformers5.tokenizer_of(model.hf_model) is model.tokenizer


def test_hooks_that_stay_behind(model: secondsight.Model, inputs: dict[str, Any]) -> None:
    with torch.no_grad():
        model.hf_model(**inputs, output_hidden_states=True)
    found = [hook for part in model.hf_model.modules() for hook in part._forward_hooks.values()]
    assert found
    assert all(map(transformers5.is_inert, found))
    assert not transformers5.is_inert(print)


def test_what_bounds_the_logits(model: secondsight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a family whose releases differ; `tests/families` holds it to the logits themselves."""
    text = model.hf_model.config.text_config
    assert transformers5.final_softcap(model.hf_model) is None
    monkeypatch.setattr(text, "final_logit_softcapping", 30.0, raising=False)
    assert transformers5.final_softcap(model.hf_model) == 30.0
    monkeypatch.setattr(model.hf_model.config, "model_type", "paligemma")
    for version, bound in (("5.20.2", None), ("5.22.2", None), ("5.23.0", 30.0)):
        monkeypatch.setattr(transformers, "__version__", version)
        assert transformers5.final_softcap(model.hf_model) == bound
