"""Early exits in every family: what hooks keep is what transformers says of its hidden states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from secondsight.decoding.altered import Attended, attend_again
from secondsight.decoding.cache import SlotCache, Window
from secondsight.decoding.exits import read_exits
from secondsight.decoding.recording import Needs, RowExits, Span, needs_of, taking
from secondsight.decoding.stack import Stack, stack_of
from secondsight.decoding.transformers5 import CACHE
from secondsight.methods.exits import AlteredExit, Columns, EarlyExit, Exit, ImageExit

from .conftest import Loaded
from .test_families import QUESTIONS, two_images


@pytest.fixture(scope="module")
def inputs(family: Loaded) -> dict[str, Any]:
    return family.model.encode(two_images()[0], QUESTIONS[1])


@pytest.fixture(scope="module")
def stack(family: Loaded) -> Stack:
    return stack_of(family.model.hf_model)


@dataclass
class Alone:
    """A row outside of any pool."""

    seen: Any = None

    def attended(self, layer: int) -> Attended:
        return self.seen

    def texts(self) -> list[torch.Tensor]:
        return []


def unchanged(weights: torch.Tensor, columns: Columns) -> tuple[torch.Tensor, torch.Tensor]:
    return weights, torch.zeros(weights.shape[:2], dtype=torch.bool)


def passed_through(
    family: Loaded, inputs: dict[str, Any], exits: list[Exit], **options: Any
) -> tuple[RowExits, Any]:
    """A row's exits after a pass over its prompt, and the model's output."""
    model = family.model.hf_model
    ids = inputs["input_ids"][0]
    image = (ids == model.config.image_token_id).nonzero()[:, 0]
    row = RowExits(tuple(exits), needs_of(exits, stack_of(model).depth), image)
    with torch.no_grad(), taking(model, [row], [Span(0, range(len(ids)))], last=True):
        output = model(**inputs, **options)
    return row, output


@torch.no_grad()
def test_exits_read_what_transformers_says(
    family: Loaded, stack: Stack, inputs: dict[str, Any]
) -> None:
    depth = stack.depth
    exits: list[Exit] = [
        *(EarlyExit(layer, norm) for layer in range(depth + 1) for norm in (False, True)),
        ImageExit((1, depth)),
    ]
    row, output = passed_through(family, inputs, exits, output_hidden_states=True)
    hidden = output.hidden_states
    said = read_exits(family.model.hf_model, [row], Alone())
    for one, logits in zip(exits[:-1], said.said, strict=False):
        assert isinstance(one, EarlyExit)
        state = hidden[one.layer][0, -1]
        want = state if not one.norm or one.layer == depth else stack.normed(state)
        torch.testing.assert_close(logits[0], stack.logits(want))
    own = output.logits[0, -1].float()
    torch.testing.assert_close(said[2 * depth][0], own, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(said[2 * depth + 1][0], said[2 * depth][0])
    (shown,) = said[-1]
    assert shown.positions == len(row.image) > 0
    if "Qwen3" not in family.name:  # its list leaves out the image features that layers get
        ids = torch.tensor([5, 40, 7])
        states = torch.cat([hidden[layer][0, row.image] for layer in (1, depth)])
        torch.testing.assert_close(shown(ids), stack.logits(states)[:, ids])


def empty_cache(family: Loaded, length: int) -> SlotCache:
    """A cache for one row, which a pass over so many slots fills."""
    text = family.model.hf_model.config.get_text_config(decoder=True)
    cache = SlotCache(text, 1, length)
    cache.window = Window(slice(0, 1), 0, 0, length)
    return cache


@torch.no_grad()
def test_a_layer_attends_again_as_it_did(
    family: Loaded, stack: Stack, inputs: dict[str, Any]
) -> None:
    """With unaltered weights the layer's own output comes back, in every family's way."""
    model, ids = family.model.hf_model, inputs["input_ids"]
    config = model.config.get_text_config(decoder=True)
    before, outputs = config._attn_implementation, []
    for layer in range(stack.depth):
        attention: Any = stack.layers[layer].self_attn
        hook = attention.register_forward_hook(lambda _, given, out: outputs.append(out[0][:, -1]))
        cache, one = empty_cache(family, ids.shape[1]), AlteredExit(layer, unchanged)
        row, output = passed_through(family, inputs, [one], **{CACHE: cache})
        hook.remove()
        keys, values = cache.seen(layer, slice(0, 1), slice(0, ids.shape[1]))
        seen = Attended(keys, values, ids >= 0, ids < 0)
        assert row.place is not None
        arguments = row.place.passed.attention[layer]
        again, _ = attend_again(attention, arguments, [0], seen, unchanged)
        torch.testing.assert_close(again, outputs[-1], atol=1e-4, rtol=1e-4)
        said = read_exits(model, [row], Alone(seen))[0]
        assert said.logits.shape == output.logits[:, -1].shape
        assert said.logits.isfinite().all()
        assert said.removed.shape == (1, config.num_attention_heads)
        assert config._attn_implementation == before
        torch.testing.assert_close(model(**inputs).logits, output.logits)
        if layer == stack.depth - 1:
            final = row.place.passed.states[stack.depth]
            want = stack.logits(stack.normed(again) + 0.5 * final)
            torch.testing.assert_close(said.logits, want)


def test_needs() -> None:
    assert not Needs()
    found = needs_of([EarlyExit(3), ImageExit((2, 12)), AlteredExit(0, unchanged)], 12)
    assert found == Needs(frozenset({3, 11, 12}), frozenset({2, 12}), frozenset({0}))
    assert needs_of([AlteredExit(11, unchanged)], 12).last == {12}
