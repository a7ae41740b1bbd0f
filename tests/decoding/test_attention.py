"""Attention edits on plain forward passes: what they do, and that nobody else notices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import DynamicCache

import secondsight
from reference.llama import Llama
from reference.pai import Amplified
from reference.sid import Pruned
from secondsight.decoding.attention import Editing, RowEdit, editing
from secondsight.decoding.collate import join, padding_id
from secondsight.decoding.transformers5 import CACHE
from secondsight.edits import AttentionEdit, EditedRows
from secondsight.errors import MethodError
from secondsight.layout import PromptLayout, prompt_layout
from secondsight.methods.pai import AmplifyImage
from secondsight.methods.sid import KeepLeastAttended

QUESTIONS = ("Is there a dog?", "Please describe this image in detail.", "What colour is it? Red?")
WRITTEN = (50, 61, 7, 99, 120)

EDITS: dict[str, AttentionEdit] = {
    "pai": AmplifyImage(0.7, "all"),
    "pai official": AmplifyImage(0.7, "1", first=False),
    "sid": KeepLeastAttended(1, 4),
    "sid share": KeepLeastAttended(1, 0.4),
}


@dataclass(frozen=True)
class LookOn(AttentionEdit):
    """Changes nothing, and keeps what it sees."""

    def queries(self, layout: PromptLayout) -> slice:
        return slice(layout.end, layout.length)

    def weights(self, layer: int, weights: torch.Tensor, at: EditedRows) -> torch.Tensor:
        at.memory[str(layer)] = weights
        return weights

    def facts(self, at: EditedRows) -> Sequence[dict[str, Any]]:
        return [
            {layer: weights[row].mean(0)[0][at.image[row, 0, 0]] for layer, weights in seen}
            for row in range(len(at.layouts))
            if (seen := at.memory.items())
        ]


class World:
    """Three prompts of different lengths on one model."""

    def __init__(self, model: secondsight.Model, picture: Callable[..., Image.Image]) -> None:
        self.hf, self.llama = model.hf_model, Llama(model.hf_model)
        self.prompts = [
            model.encode(picture(3 + i, (50, 40)), question) for i, question in enumerate(QUESTIONS)
        ]
        token = self.hf.config.image_token_id
        self.layouts = [prompt_layout(one["input_ids"], token) for one in self.prompts]
        self.pad = padding_id(self.hf)

    def edited(self, edits: Sequence[AttentionEdit | None], rows: Sequence[int]) -> list[Any]:
        width = max(self.layouts[row].length for row in rows)
        return [
            None if edit is None else RowEdit(edit, layout, width - layout.length)
            for edit, layout in zip(edits, (self.layouts[row] for row in rows), strict=True)
        ]

    @torch.no_grad()
    def read(
        self,
        edits: Sequence[AttentionEdit | None],
        rows: Sequence[int],
        chunks: Sequence[int] = (1, 1, 1, 1, 1),
    ) -> tuple[list[torch.Tensor], list[Editing]]:
        """Logits after the prompt and after each token, of shape (rows, vocabulary).

        Args:
            edits: The edit of each row.
            rows: Which prompts.
            chunks: How many of the written tokens each pass after the prompt reads.
        """
        inputs: dict[str, Any] = join([self.prompts[row] for row in rows], self.pad)
        work = self.edited(edits, rows)
        mask = inputs.pop("attention_mask")
        cache = DynamicCache()
        found, editings = [], []
        position = (mask.cumsum(-1) - 1).clamp(min=0)
        passes = [inputs.pop("input_ids")]
        start = 0
        for size in chunks:
            passes.append(torch.tensor([WRITTEN[start : start + size]]).expand(len(rows), -1))
            start += size
        for number, ids in enumerate(passes):
            if number:
                mask = torch.cat([mask, mask.new_ones(len(rows), ids.shape[1])], dim=-1)
                position = position[:, -1:] + 1 + torch.arange(ids.shape[1])
                inputs = {}
            with editing(self.hf, work) as one:
                output = self.hf(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=position,
                    **{CACHE: cache},
                    use_cache=True,
                    **inputs,
                )
            found += list((output.logits[:, -1:] if not number else output.logits).unbind(dim=1))
            editings.append(one)
        return found, editings


@pytest.fixture(scope="module", params=["grouped", "every head its own keys"])
def world(request: pytest.FixtureRequest, picture: Callable[..., Image.Image]) -> World:
    name = "tiny_llava" if request.param == "grouped" else "tiny_llava_mha"
    return World(secondsight.load(request.getfixturevalue(name), device="cpu"), picture)


def close(have: Sequence[torch.Tensor], want: Sequence[torch.Tensor]) -> None:
    for step, (a, b) in enumerate(zip(have, want, strict=True)):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4, msg=lambda m, s=step: f"{s}: {m}")


def reference(world: World, name: str, row: int) -> Llama:
    layout = world.layouts[row]
    image = (layout.image[0].start, layout.image[0].stop)
    if name == "pai":
        return Amplified(world.hf, image, layout.end, (0, 1), 0.7)
    if name == "pai official":
        return Amplified(world.hf, image, layout.length, (1,), 0.7)
    keep = 4 if name == "sid" else round(0.4 * layout.image_tokens)
    return Pruned(world.hf, image, layout.end, 1, keep)


@pytest.mark.parametrize("name", EDITS)
def test_edits_are_what_their_formulas_say(world: World, name: str) -> None:
    have, editings = world.read([EDITS[name]] * 3, range(3))
    for row in range(3):
        llama, prompt = reference(world, name, row), world.prompts[row]
        for step, logits in enumerate(have):
            ids = prompt["input_ids"][0].tolist() + list(WRITTEN[:step])
            embedded = world.llama.embed(ids, prompt["pixel_values"])
            slow = llama.logits(llama.run(embedded).hidden[-1][-1])
            torch.testing.assert_close(logits[row], slow, atol=2e-4, rtol=1e-4)
            if isinstance(llama, Pruned):
                assert list(editings[step].facts()[row]["kept_tokens"]) == llama.kept[-1]


@pytest.mark.parametrize("name", EDITS)
def test_neighbours_do_not_change_by_a_bit(world: World, name: str) -> None:
    plain, _ = world.read([None, None, None], range(3))
    for edits in ([EDITS[name], None, None], [None, EDITS[name], EDITS["pai"]]):
        mixed, _ = world.read(edits, range(3))
        for row, edit in enumerate(edits):
            same = [torch.equal(a[row], b[row]) for a, b in zip(mixed, plain, strict=True)]
            assert all(same) if edit is None else not any(same[1:])


@pytest.mark.parametrize("name", EDITS)
def test_alone_equals_in_company(world: World, name: str) -> None:
    company, _ = world.read([EDITS[name], None, EDITS["pai"]], range(3))
    alone, _ = world.read([EDITS[name]], [0])
    close([one[:1] for one in company], alone)


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("chunks", [(5,), (2, 3), (1, 3, 1)])
def test_several_tokens_in_a_pass_equal_one_by_one(
    world: World, name: str, chunks: Sequence[int]
) -> None:
    one_by_one, _ = world.read([EDITS[name], None, EDITS[name]], range(3))
    together, _ = world.read([EDITS[name], None, EDITS[name]], range(3), chunks)
    close(together, one_by_one)


def test_looking_on_changes_nothing(world: World) -> None:
    plain, _ = world.read([None, None, None], range(3))
    seen, editings = world.read([LookOn(), None, LookOn()], range(3))
    assert all(torch.equal(a, b) for a, b in zip(plain, seen, strict=True))
    assert set(editings[0].facts()) == {0, 2}
    assert not editings[1].facts()
    for row in (0, 2):
        ids = world.prompts[row]["input_ids"][0].tolist()
        found = world.llama.run(world.llama.embed(ids, world.prompts[row]["pixel_values"]))
        for layer in range(2):
            want = found.attention[layer].mean(0)[-1][world.layouts[row].image_positions]
            torch.testing.assert_close(editings[0].facts()[row][str(layer)], want)


def test_the_model_is_left_as_it_was(world: World) -> None:
    config = world.hf.config.get_text_config()
    before = config._attn_implementation
    with pytest.raises(KeyboardInterrupt), editing(world.hf, world.edited([EDITS["pai"]], [0])):
        raise KeyboardInterrupt
    assert config._attn_implementation == before == "sdpa"


def test_a_pass_without_edits_is_not_touched(world: World) -> None:
    config = world.hf.config.get_text_config()
    with editing(world.hf, [None, None]):
        assert config._attn_implementation == "sdpa"


def test_an_eager_model(world: World) -> None:
    sdpa, _ = world.read([EDITS["sid"], None, EDITS["pai"]], range(3))
    world.hf.set_attn_implementation("eager")
    try:
        plain, _ = world.read([None, None, None], range(3))
        eager, _ = world.read([EDITS["sid"], None, EDITS["pai"]], range(3))
    finally:
        world.hf.set_attn_implementation("sdpa")
    close(eager, sdpa)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(plain, eager, strict=True))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (AmplifyImage(0.2, "1-2"), "names layer 2"),
        (KeepLeastAttended(3, 4), "one from 1 to 1"),
        (KeepLeastAttended(1, 400), "keep=400, and the image has"),
    ],
)
def test_what_the_model_has_not_is_refused(world: World, edit: AttentionEdit, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        world.read([edit], [0])
