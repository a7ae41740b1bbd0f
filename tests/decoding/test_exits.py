"""Early exits obey the law: what they say depends on the row's own inputs and tokens alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from PIL import Image
from transformers import LlamaForCausalLM, LogitsProcessor, LogitsProcessorList

import secondsight
from golden import recordings
from golden.recordings import Run
from secondsight import Request, Sample, Settings
from secondsight.decoding import SCHEDULES, beside
from secondsight.decoding import scoring as scoring_module
from secondsight.decoding.collate import padding_id
from secondsight.decoding.exits import exits_of, read_exits
from secondsight.decoding.recording import RowExits
from secondsight.decoding.rows import Pool, PoolRows, Prompt, Row
from secondsight.decoding.sharing import Prefix, PrefixCache
from secondsight.decoding.stack import Stack, stack_of
from secondsight.decoding.step import Step
from secondsight.errors import UnsupportedError, UserError
from secondsight.methods import Method, create
from secondsight.methods.exits import Altered, Early, EarlyExit, LanguageExit

GoldenModel = Callable[..., secondsight.Model]
Picture = Callable[..., Image.Image]

WRITTEN = [3869, 1939, 263, 11203, 297]
QUESTIONS = ("Is there a dog in the image?", "What?", "Please describe this image in detail.")

SPECS = {
    "dola": ("dola", "dola:layers=all", "dola:layers=5"),
    "deco": ("deco", "deco:layers=all"),
    "only": ("only", "only:layer=4", "only:layer=11"),
    "revisit": ("revisit", "revisit:layers=all,beta=0.01"),
    "lcd": ("lcd:model=tiny",),
    "vista": ("vista:scale=0", "vista:scale=0,layers=8/10,mix=0.9"),
}
"""Every shipped method with exits, and settings that reach all kinds of them."""


def methods_with_exits() -> set[str]:
    found = {name: secondsight.methods.get(name) for name in secondsight.methods.names()}
    return {
        name
        for name, method in found.items()
        if method.__module__.startswith("secondsight.")
        and method.early_exits is not Method.early_exits
    }


def test_every_method_with_exits_is_here() -> None:
    assert methods_with_exits() <= set(SPECS)


@pytest.fixture(scope="module", autouse=True)
def language(golden_model: GoldenModel) -> Iterator[str]:
    """The Llama of another checkpoint, for `lcd`, in a folder of that name."""
    hf = golden_model("tiny").hf_model
    llama = LlamaForCausalLM(hf.config.text_config)
    llama.model.load_state_dict(hf.model.language_model.state_dict())
    llama.lm_head.load_state_dict(hf.lm_head.state_dict())
    with (
        patch.object(beside, "_loaded", lambda name, dtype, device: llama.eval()),
        patch.object(beside, "_tokenizer", lambda name: None),  # nor the hub asked for one
    ):
        yield "tiny"


EAGER = [
    recordings.runs("layer", method, preset="deep", select="greedy")[0]
    for method in SPECS
    if method not in ("lcd", "vista")  # recorded elsewhere
]

ALL = [spec for specs in SPECS.values() for spec in specs]
every_spec = pytest.mark.parametrize("spec", ALL)


@pytest.fixture(scope="module")
def model(golden_model: GoldenModel) -> secondsight.Model:
    return golden_model("deep")


@pytest.fixture(scope="module")
def prompts(model: secondsight.Model, picture: Picture) -> list[dict[str, Any]]:
    """Of three lengths, with three images."""
    return [model.encode(picture(5 + n), question) for n, question in enumerate(QUESTIONS)]


def extended(inputs: dict[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    ids = torch.cat([inputs["input_ids"], torch.tensor([list(tokens)])], dim=-1)
    return {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


class Pooled:
    """Rows of a pool with one method's exits."""

    def __init__(self, model: secondsight.Model, spec: str, kept: PrefixCache | None = None):
        self.hf, self.method = model.hf_model, create(spec)
        self.pool = Pool(self.hf, pad_id=padding_id(self.hf), kept=kept)
        self.rows: list[Row] = []

    def row(self, inputs: dict[str, Any], prefix: Prefix | None = None) -> Row:
        exits = exits_of(self.hf, self.method, inputs["input_ids"])
        assert exits is not None
        return Row(Prompt(inputs, prefix), exits=RowExits(exits.exits, exits.needs))

    @torch.no_grad()
    def join(self, *rows: Row) -> None:
        self.pool.admit(rows, [])
        self.rows = [*rows, *self.rows]

    @torch.no_grad()
    def read(self) -> Early:
        rows = sorted(self.rows, key=lambda row: row.index)
        self.pool.read(rows)
        return self.said(self.rows)

    @torch.no_grad()
    def said(self, rows: Sequence[Row]) -> Early:
        exits = [row.exits for row in rows if row.exits is not None]
        ordered = sorted(rows, key=lambda row: row.index)
        assert list(rows) == ordered
        return read_exits(self.hf, exits, PoolRows(self.pool, ordered))

    def write(self, *tokens: int) -> None:
        self.pool.append(dict(zip(self.rows, tokens, strict=True)))


def numbers(early: Early, row: int) -> list[torch.Tensor]:
    """What the exits say of one row, as tensors."""
    found = []
    for one, said in zip(early.exits, early.said, strict=True):
        if isinstance(one, EarlyExit | LanguageExit):
            found.append(said[row])
        elif isinstance(said, Altered):
            found += [said.logits[row], said.removed[row].float()]
        else:
            found.append(said[row](torch.tensor([4, 700, 31999])))
    return found


def close(have: list[torch.Tensor], want: list[torch.Tensor]) -> None:
    for one, other in zip(have, want, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)


@every_spec
def test_many_tokens_in_one_pass_are_as_one_by_one(
    model: secondsight.Model, prompts: list[dict[str, Any]], spec: str
) -> None:
    at_once = Pooled(model, spec)
    at_once.join(at_once.row(extended(prompts[0], WRITTEN)))
    one_by_one = Pooled(model, spec)
    one_by_one.join(one_by_one.row(prompts[0]))
    one_by_one.read()
    for token in WRITTEN:
        one_by_one.write(token)
        last = one_by_one.read()
    close(numbers(last, 0), numbers(at_once.read(), 0))
    behind = Pooled(model, spec)
    behind.join(behind.row(prompts[0]))
    behind.read()
    for token in WRITTEN:
        behind.write(token)
    close(numbers(behind.read(), 0), numbers(last, 0))


@every_spec
def test_alone_is_as_in_company(
    model: secondsight.Model, prompts: list[dict[str, Any]], spec: str
) -> None:
    """Rows of other lengths, joined later, read in other passes of the same step."""
    company = Pooled(model, spec)
    company.join(company.row(prompts[0]))
    company.read()
    company.write(WRITTEN[0])
    company.join(company.row(extended(prompts[1], [700])), company.row(prompts[2]))
    said = company.read()
    close(numbers(said, 0), numbers(alone(model, spec, prompts[1], [700]), 0))
    close(numbers(said, 1), numbers(alone(model, spec, prompts[2], []), 0))
    close(numbers(said, 2), numbers(alone(model, spec, prompts[0], WRITTEN[:1]), 0))
    company.write(7, 8, 9)
    said = company.read()
    close(numbers(said, 0), numbers(alone(model, spec, prompts[1], [700, 7]), 0))
    close(numbers(said, 2), numbers(alone(model, spec, prompts[0], [WRITTEN[0], 9]), 0))
    some = company.said([company.rows[0], company.rows[2]])
    close(numbers(some, 1), numbers(said, 2))


def alone(
    model: secondsight.Model, spec: str, inputs: dict[str, Any], tokens: Sequence[int]
) -> Early:
    one = Pooled(model, spec)
    one.join(one.row(inputs))
    said = one.read()
    for token in tokens:
        one.write(token)
        said = one.read()
    return said


@every_spec
def test_a_shared_beginning_changes_nothing(
    model: secondsight.Model, prompts: list[dict[str, Any]], spec: str, picture: Picture
) -> None:
    """Read by another row of the step, kept from before, or read by the row itself."""
    same = model.encode(picture(5), QUESTIONS[2])
    shared = int((same["input_ids"][0] == model.hf_model.config.image_token_id).nonzero()[-1]) + 1
    prefix = Prefix("image 5", shared)
    kept = PrefixCache(2**30)
    want = numbers(alone(model, spec, same, []), 0)
    for _ in range(2):
        pooled = Pooled(model, spec, kept)
        pooled.join(pooled.row(prompts[0], prefix), pooled.row(same, prefix))
        close(numbers(pooled.read(), 1), want)
    assert len(kept) == 1


def test_only_samples_that_it_can_change_are_read(
    model: secondsight.Model, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(
        scoring_module,
        "read_exits",
        lambda hf, rows, cached: read.append(len(rows)) or read_exits(hf, rows, cached),
    )
    plausible: list[int] = []
    requests = [
        Request(Sample(picture(n), question), "dola:beta=0.4", Settings(max_new_tokens=12))
        for n, question in enumerate(QUESTIONS)
    ]
    answers = dict(model.answers(requests))
    undecided = sum(read)
    read.clear()
    for request in requests:
        model.submit(
            request, observer=lambda step: plausible.append(int(step.plausible.sum()))
        ).result()
    assert undecided == sum(count > 1 for count in plausible)
    assert 0 < undecided < len(plausible)
    assert sum(read) == 2 * len(plausible)  # scores and facts, at every step that is watched
    assert {len(answer.ids) for answer in answers.values()} == {12}


@pytest.mark.parametrize("spec", ["dola", "deco", "only", "revisit:layers=all"])
def test_in_half_precision(golden_model: GoldenModel, picture: Picture, spec: str) -> None:
    """States and heads are the model's; what is compared and combined is float32."""
    half = golden_model("deep", dtype="bfloat16")
    steps: list[Step] = []
    asked = Request(Sample(picture(3), QUESTIONS[0]), spec, Settings(max_new_tokens=6))
    watched = half.submit(asked, observer=steps.append).result()
    lazily = half.submit(replace(asked, schedule="lazy")).result()
    assert watched.ids == lazily.ids
    assert all(step.scores.dtype == torch.float32 for step in steps)
    inputs = half.encode(picture(3), QUESTIONS[0])
    with torch.no_grad():
        hidden = half.hf_model(**inputs, output_hidden_states=True).hidden_states
    if spec == "dola":
        stack, base = stack_of(half.hf_model), steps[0].logits[0]
        early = {layer: stack.logits(hidden[layer][0, -1]) for layer in (0, 2, 4)}
        contrast = base.log_softmax(-1) - early[steps[0].facts["layer"]].log_softmax(-1)
        kept = steps[0].scores.isfinite()
        torch.testing.assert_close(steps[0].scores[kept], contrast[kept], atol=0.3, rtol=0.05)


class Banning(LogitsProcessor):
    """Bans some tokens as the first."""

    def __init__(self, banned: list[int], width: int) -> None:
        self.banned, self.width = banned, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] > self.width:
            return scores
        return scores.index_fill(1, torch.tensor(self.banned), -torch.inf)


@pytest.mark.parametrize("spec", [one for one in ALL if not one.startswith("vista")])
def test_where_every_plausible_token_is_banned(
    model: secondsight.Model, prompts: list[dict[str, Any]], spec: str
) -> None:
    """The rest is judged as if the model could say nothing else, on every schedule alike."""
    hf, prompt = model.hf_model, prompts[0]
    width = prompt["input_ids"].shape[1]
    with torch.no_grad():
        base = hf(**prompt).logits[0, -1]
    banned = base.topk(20000 if "revisit" in spec else 400).indices
    chances = base.index_fill(0, banned, -torch.inf)
    written = set()
    for schedule in SCHEDULES:
        output = hf.generate(
            **prompt,
            custom_generate=secondsight.decode,
            method=spec,
            schedule=schedule,
            logits_processor=LogitsProcessorList([Banning(banned.tolist(), width)]),
            max_new_tokens=3,
            do_sample=False,
            eos_token_id=None,
            return_dict_in_generate=True,
            output_scores=schedule == "joint",
        )
        written.add(tuple(output.sequences[0, width:].tolist()))
        if schedule == "joint":
            scores = output.scores[0][0]
    assert len(written) == 1
    assert not scores.isnan().any()
    kept = create(spec).plausible(chances[None])
    assert kept is not None
    assert (scores.isfinite() == kept[0]).all()
    [tokens] = written
    assert tokens[0] == int(scores.argmax())
    assert kept[0, tokens[0]]


@pytest.mark.parametrize("run", EAGER, ids=str)
def test_with_eager_attention(golden_model: GoldenModel, run: Run) -> None:
    """Masks of another form, the same tokens."""
    eager = golden_model("deep", attn_implementation="eager")
    batch = [Sample(run.image_file, run.question), Sample(run.image_file, "What is it, exactly?")]
    answered = eager.answer_batch(batch, run.spec, max_new_tokens=run.new_tokens)
    assert list(answered[0].ids) == run.tokens


def test_nobody_with_exits_leaves_no_hooks(model: secondsight.Model, picture: Picture) -> None:
    stack = stack_of(model.hf_model)
    model.answer(picture(0), QUESTIONS[0], "dola", max_new_tokens=2)
    assert not any(layer._forward_pre_hooks for layer in stack.layers)


def test_a_head_that_is_not_all(model: secondsight.Model) -> None:
    stack = Stack(model.hf_model)
    final = torch.randn(1, 64)
    stack.check(final, stack.logits(final))
    assert stack.checked
    with pytest.raises(UnsupportedError, match="does more between its last layer"):
        stack.check(final, 0.5 * stack.logits(final))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("dola:layers=12", "names layer 12; in this model it takes those from 0 to 11"),
        ("deco:layers=10-14", "names layer 12"),
        ("only:layer=12", "layer=12 is outside the model, whose layers are 0 to 11"),
        ("revisit:layers=13", "those from 0 to 12"),
    ],
)
def test_layers_that_the_model_has_not(
    model: secondsight.Model, picture: Picture, spec: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        model.answer(picture(0), QUESTIONS[0], spec)


@pytest.mark.parametrize("spec", ["only", "revisit"])
def test_an_image_is_needed(model: secondsight.Model, spec: str) -> None:
    with pytest.raises(UserError, match=f"{spec} looks at the image, and none was given"):
        model.answer(None, "Is there a dog?", spec)


@pytest.mark.parametrize("spec", ["dola", "deco"])
def test_no_image_is_needed(model: secondsight.Model, spec: str) -> None:
    assert len(model.answer(None, "Is there a dog?", spec, max_new_tokens=3).ids) == 3
