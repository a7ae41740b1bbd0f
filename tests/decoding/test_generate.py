"""`decode` with the method `regular` is transformers' own `generate`, argument by argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
    StopStringCriteria,
    TextIteratorStreamer,
)
from transformers.generation import GenerateDecoderOnlyOutput
from transformers.generation.streamers import BaseStreamer

import secondsight
from secondsight import UnsupportedError
from secondsight.decoding.collate import join, padding_id
from secondsight.decoding.transformers5 import CACHE

TOKENS = 16


@pytest.fixture(scope="module")
def one(model: secondsight.Model, make_image: Callable[..., Image.Image]) -> dict[str, Any]:
    return model.encode(make_image(1), "Is there a dog in the image?")


@pytest.fixture(scope="module")
def three(model: secondsight.Model, make_image: Callable[..., Image.Image]) -> dict[str, Any]:
    questions = ("Is there a cat?", "Please describe this image in detail.", "What colour?")
    encoded = [model.encode(make_image(i), text) for i, text in enumerate(questions)]
    return join(encoded, padding_id(model.hf_model))


@pytest.fixture
def eager(model: secondsight.Model) -> Any:
    """Attention that can be looked at."""
    before = model.hf_model.config._attn_implementation
    model.hf_model.set_attn_implementation("eager")
    yield model
    model.hf_model.set_attn_implementation(before)


def both(model: secondsight.Model, inputs: dict[str, Any], **options: Any) -> tuple[Any, Any]:
    """What transformers gives, and what the loop gives."""
    options = {"max_new_tokens": TOKENS, "do_sample": False, **options}
    plain = model.hf_model.generate(**inputs, **options)
    ours = model.hf_model.generate(**inputs, **options, custom_generate=secondsight.decode)
    return plain, ours


def written(model: secondsight.Model, inputs: dict[str, Any]) -> list[int]:
    ids = model.hf_model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    return ids[0, inputs["input_ids"].shape[1] :].tolist()


class Favour(LogitsProcessor):
    """Prefers tokens that the last token's number points at: depends on row and step."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        chosen = (input_ids[:, -1] * 7 + input_ids.shape[1]) % scores.shape[1]
        scores[torch.arange(len(scores)), chosen] += 40
        return scores


SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "max_length": {"max_length": 106, "max_new_tokens": None},
    "min_new_tokens": {"min_new_tokens": 5, "eos_token_id": list(range(100, 400))},
    "repetition_penalty": {"repetition_penalty": 1.4},
    "no_repeat_ngram": {"no_repeat_ngram_size": 2},
    "bad_words": {"bad_words_ids": [[300], [7], [42, 9]]},
    "suppress": {"suppress_tokens": list(range(3, 200))},
    "custom processor": {"logits_processor": LogitsProcessorList([Favour()])},
    "forced": {"forced_eos_token_id": 2, "forced_bos_token_id": 9},
    "prefix": {"prefix_allowed_tokens_fn": lambda batch, ids: [5 + len(ids) % 90, 99 + batch]},
    "one beam, no cache name": {"num_beams": 1, "cache_implementation": None},
}


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("batch", ["one", "three"])
def test_same_tokens(
    model: secondsight.Model, request: pytest.FixtureRequest, options: dict[str, Any], batch: str
) -> None:
    plain, ours = both(model, request.getfixturevalue(batch), **options)
    assert ours.tolist() == plain.tolist()


def test_the_settings_matter(model: secondsight.Model, one: dict[str, Any]) -> None:
    """The comparison above would prove little if nothing changed the tokens."""
    greedy = both(model, one)[1].tolist()
    for name in ("repetition_penalty", "suppress", "custom processor", "prefix", "min_new_tokens"):
        assert both(model, one, **SETTINGS[name])[1].tolist() != greedy, name


@pytest.mark.parametrize(
    "warpers",
    [
        {"temperature": 0.7},
        {"temperature": 3.0, "top_k": 7},
        {"temperature": 4.0, "top_k": 0, "top_p": 0.6},
        {"temperature": 4.0, "top_k": 0, "min_p": 0.05},
        {"temperature": 2.0, "top_k": 0, "typical_p": 0.5},
        {"top_k": 0, "epsilon_cutoff": 0.01},
        {"top_k": 0, "renormalize_logits": True},
    ],
    ids=str,
)
def test_warpers_leave_the_same_scores(
    model: secondsight.Model, three: dict[str, Any], warpers: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    plain, ours = both(
        model,
        three,
        do_sample=True,
        max_new_tokens=1,
        output_scores=True,
        return_dict_in_generate=True,
        **warpers,
    )
    torch.testing.assert_close(ours.scores[0], plain.scores[0], atol=1e-4, rtol=1e-4)


def test_one_sample_draws_what_multinomial_draws(
    model: secondsight.Model, one: dict[str, Any]
) -> None:
    options = {"do_sample": True, "temperature": 3.0, "top_k": 0, "max_new_tokens": TOKENS}
    torch.manual_seed(11)
    plain = model.hf_model.generate(**one, **options)
    ours = model.hf_model.generate(**one, **options, custom_generate=secondsight.decode, seeds=[11])
    assert ours.tolist() == plain.tolist()


@pytest.mark.parametrize("batch", ["one", "three"])
def test_several_ends(model: secondsight.Model, request: pytest.FixtureRequest, batch: str) -> None:
    inputs = request.getfixturevalue(batch)
    ids = model.hf_model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    new = ids[:, inputs["input_ids"].shape[1] :]
    ends = [int(new[0, 6]), int(new[-1, 3]), 2]
    plain, ours = both(model, inputs, eos_token_id=ends)
    assert ours.tolist() == plain.tolist()
    assert ours.shape != ids.shape or batch == "three"


def test_everything_that_can_be_returned(eager: secondsight.Model, three: dict[str, Any]) -> None:
    plain, ours = both(
        eager,
        three,
        max_new_tokens=4,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        output_attentions=True,
        output_hidden_states=True,
    )
    assert type(ours) is type(plain) is GenerateDecoderOnlyOutput
    assert ours.sequences.tolist() == plain.sequences.tolist()
    visible = three["attention_mask"].bool()
    for name in ("scores", "logits"):
        have, want = getattr(ours, name), getattr(plain, name)
        assert len(have) == len(want) == 4
        for a, b in zip(have, want, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    for name in ("attentions", "hidden_states"):
        have, want = getattr(ours, name), getattr(plain, name)
        assert len(have) == len(want) == 4
        for step, (ours_step, plain_step) in enumerate(zip(have, want, strict=True)):
            assert len(ours_step) == len(plain_step)
            for a, b in zip(ours_step, plain_step, strict=True):
                assert a.shape == b.shape, (name, step)
                if step == 0:  # what padding attends to is nobody's business
                    rows = visible[:, None, :, None] if name == "attentions" else visible[..., None]
                    a, b = a * rows, b * rows
                torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_attentions_of_the_original_beside_a_shorter_and_a_longer_view(
    eager: secondsight.Model, make_image: Callable[..., Image.Image], one: dict[str, Any]
) -> None:
    """Left padding for the other views must not show in what is returned."""
    options = {
        "max_new_tokens": 3,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_attentions": True,
        "output_hidden_states": True,
    }
    longer = eager.encode(make_image(3), "Is there a dog in the image? " * 4)
    assert longer["input_ids"].shape[1] > one["input_ids"].shape[1]
    plain = eager.hf_model.generate(**one, **options)
    for view in (longer, eager.encode(None, "Is it?")):
        ours = eager.hf_model.generate(
            **one,
            **options,
            custom_generate=secondsight.decode,
            method="identity:alpha=0",  # needs the view's pass and ignores what it says
            views=[view],
            schedule="joint",
        )
        assert ours.sequences.tolist() == plain.sequences.tolist()
        for name in ("attentions", "hidden_states"):
            for a, b in zip(getattr(ours, name), getattr(plain, name), strict=True):
                for x, y in zip(a, b, strict=True):
                    assert x.shape == y.shape
                    torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("schedule", ["joint", "lazy"])
def test_the_returned_cache_continues_the_text(
    model: secondsight.Model, one: dict[str, Any], schedule: str
) -> None:
    output = model.hf_model.generate(
        **one,
        custom_generate=secondsight.decode,
        method="m3id:beta=0",
        views=[model.encode(None, "Is there a dog in the image?")],
        schedule=schedule,
        max_new_tokens=5,
        do_sample=False,
        return_dict_in_generate=True,
    )
    length = output.sequences.shape[1]
    assert output[CACHE].get_seq_length() == length - 1
    with torch.no_grad():
        step = model.hf_model(input_ids=output.sequences[:, -1:], **{CACHE: output[CACHE]})
        whole = model.hf_model(input_ids=output.sequences, pixel_values=one["pixel_values"])
    torch.testing.assert_close(step.logits[:, -1], whole.logits[:, -1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("how", ["criteria", "stop_strings"])
@pytest.mark.parametrize("batch", ["one", "three"])
def test_stop_strings(
    model: secondsight.Model, request: pytest.FixtureRequest, how: str, batch: str
) -> None:
    inputs = request.getfixturevalue(batch)
    width = inputs["input_ids"].shape[1]
    free = model.hf_model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)[:, width:]
    stop = next(
        text
        for token in free[0, 2:].tolist()
        if (text := model.tokenizer.decode([token])).isascii() and len(text.strip()) > 0
    )
    plain = model.hf_model.generate(
        **inputs,
        max_new_tokens=TOKENS,
        do_sample=False,
        stop_strings=[stop],
        tokenizer=model.tokenizer,
    )
    given: dict[str, Any] = (
        {"stop_strings": [stop]}
        if how == "stop_strings"
        else {
            "stopping_criteria": StoppingCriteriaList([StopStringCriteria(model.tokenizer, [stop])])
        }
    )
    ours = model.hf_model.generate(
        **inputs,
        max_new_tokens=TOKENS,
        do_sample=False,
        custom_generate=secondsight.decode,
        **given,
    )
    assert plain.shape[1] < width + TOKENS or batch == "three"
    assert ours.tolist() == plain.tolist()


def test_stop_strings_of_a_model_that_was_not_loaded_here(
    tiny_llava: Any, one: dict[str, Any]
) -> None:
    from transformers import LlavaForConditionalGeneration

    other = LlavaForConditionalGeneration.from_pretrained(tiny_llava)
    with pytest.raises(UnsupportedError, match="StopStringCriteria"):
        other.generate(**one, custom_generate=secondsight.decode, stop_strings=["a"])


def test_several_sequences_per_sample(model: secondsight.Model, three: dict[str, Any]) -> None:
    plain, ours = both(model, three, num_return_sequences=1)
    assert ours.tolist() == plain.tolist()
    seeds = [5, 6, 5, 6, 7, 8]
    ids = model.hf_model.generate(
        **three,
        custom_generate=secondsight.decode,
        do_sample=True,
        temperature=3.0,
        num_return_sequences=2,
        seeds=seeds,
        max_new_tokens=TOKENS,
    )
    assert ids.shape[0] == 6
    for place, seed in enumerate(seeds):
        alone = {key: value[place // 2 : place // 2 + 1] for key, value in three.items()}
        single = model.hf_model.generate(
            **alone,
            custom_generate=secondsight.decode,
            do_sample=True,
            temperature=3.0,
            seeds=[seed],
            max_new_tokens=TOKENS,
        )
        assert single[0].tolist() == ids[place, : single.shape[1]].tolist()
    assert ids[0].tolist() != ids[1].tolist()


class Heard(BaseStreamer):
    def __init__(self) -> None:
        self.values: list[list[int]] = []
        self.ended = 0

    def put(self, value: torch.Tensor) -> None:
        self.values.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended += 1


def test_a_streamer_hears_every_token(model: secondsight.Model, one: dict[str, Any]) -> None:
    plain, ours = Heard(), Heard()
    options = {"max_new_tokens": TOKENS, "do_sample": False}
    model.hf_model.generate(**one, **options, streamer=plain)
    model.hf_model.generate(**one, **options, streamer=ours, custom_generate=secondsight.decode)
    assert ours.values == plain.values
    assert len(ours.values) == TOKENS + 1  # the prompt first
    assert ours.ended == plain.ended == 1


def test_a_text_streamer_spells_what_it_spells_for_generate(
    model: secondsight.Model, one: dict[str, Any]
) -> None:
    options = {**one, "max_new_tokens": TOKENS, "do_sample": False}
    texts = []
    for loop in ({}, {"custom_generate": secondsight.decode}):
        streamer = TextIteratorStreamer(model.tokenizer, skip_prompt=True)
        model.hf_model.generate(**options, streamer=streamer, **loop)
        texts.append("".join(streamer))
    assert texts[0]
    assert texts[0] == texts[1]


def test_finished_samples_leave_the_batch(model: secondsight.Model, three: dict[str, Any]) -> None:
    width = three["input_ids"].shape[1]
    ends = {0: 4, 1: 9, 2: 2}

    def allowed(batch: int, ids: torch.Tensor) -> list[int]:
        """Ends each sample at its own step, and gives each its own tokens until then."""
        step = len(ids) - width
        return [2] if step >= ends[batch] else [30 + 10 * batch + step, 200 + batch]

    rows: list[int] = []
    hook = model.hf_model.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        plain = model.hf_model.generate(
            **three, prefix_allowed_tokens_fn=allowed, max_new_tokens=TOKENS, do_sample=False
        )
        rows.clear()
        ours = model.hf_model.generate(
            **three,
            prefix_allowed_tokens_fn=allowed,
            max_new_tokens=TOKENS,
            do_sample=False,
            custom_generate=secondsight.decode,
        )
    finally:
        hook.remove()
    assert ours.tolist() == plain.tolist()
    assert rows == [3] * 3 + [2] * 2 + [1] * 5


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "beams": ({"num_beams": 3}, "beam"),
    "beam sampling": ({"num_beams": 2, "do_sample": True}, "beam"),
    "prompt lookup": ({"prompt_lookup_num_tokens": 3}, "assisted"),
    "no cache": ({"use_cache": False}, "use_cache"),
    "static cache": ({"cache_implementation": "static"}, "cache_implementation"),
    "guidance": ({"guidance_scale": 1.5}, "guidance_scale"),
    "seeds": ({"do_sample": True, "seeds": [1, 2]}, "seeds"),
    "schedule": ({"schedule": "lasy"}, "lazy"),
    "a search": ({"method": "opera"}, "searches"),
    "a check": ({"method": "check+ritual", "views": [{}]}, "asks about a text"),
    "too few views": ({"method": "vcd"}, "views"),
    "too many views": ({"method": "regular", "views": [{}]}, "views"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_name(
    model: secondsight.Model, one: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        model.hf_model.generate(
            **one, custom_generate=secondsight.decode, max_new_tokens=4, **options
        )


def test_other_modes_are_refused(model: secondsight.Model, one: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="assist"):
        model.hf_model.generate(
            **one,
            custom_generate=secondsight.decode,
            assistant_model=model.hf_model,
            max_new_tokens=4,
        )
    with pytest.raises(UnsupportedError, match="contrastive"):
        model.hf_model.generate(
            **one,
            custom_generate=secondsight.decode,
            penalty_alpha=0.6,
            top_k=4,
            max_new_tokens=4,
        )


def test_views_with_another_number_of_rows(
    model: secondsight.Model, three: dict[str, Any], one: dict[str, Any]
) -> None:
    two = {key: value[:2] for key, value in three.items()}
    with pytest.raises(UnsupportedError, match="2 rows and the original 3"):
        model.hf_model.generate(
            **three, custom_generate=secondsight.decode, method="identity", views=[two]
        )


def test_an_unknown_method_is_named(model: secondsight.Model, one: dict[str, Any]) -> None:
    with pytest.raises(secondsight.MethodError, match="ritual"):
        model.hf_model.generate(**one, custom_generate=secondsight.decode, method="ritaul")
