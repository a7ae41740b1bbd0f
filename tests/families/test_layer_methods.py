"""Methods on earlier layers, and on views of the prompt, in every family."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import secondsight
from reference.layers import Decision, deco, dola, revisit
from reference.views import agla, icd, lcd
from secondsight import Request, Sample, Settings
from secondsight.decoding.stack import Stack, stack_of

from .conftest import Loaded
from .test_families import NO_IMAGE_FREE_FORM, TOKENS, longer, samples, up_to_end

LAYERS = ("dola:layers=0/1", "dola:layers=0,beta=0.01", "deco:layers=1", "only", "only:layer=1")
LAYERS += ("revisit", "revisit:layers=0/2,beta=0.01")
ROLE = "You are a confused object detector."


class OneByOne:
    """A family's decoder for the slow versions, which hand it states."""

    def __init__(self, stack: Stack) -> None:
        self.final_norm, self.logits, self.depth = stack.normed, stack.logits, stack.depth


def judged(family: Loaded, spec: str, output: Any, image: tuple[int, ...]) -> Decision:
    """What a slow version says after a full pass."""
    model: Any = OneByOne(stack_of(family.model.hf_model))
    hidden = [state[0, -1:] for state in output.hidden_states]
    seen: Any = SimpleNamespace(hidden=hidden)
    if spec.startswith("dola"):
        layers, beta = ([0, 1], 0.1) if "0/1" in spec else ([0], 0.01)
        return dola(model, seen, 0, layers, beta=beta)
    if spec.startswith("deco"):
        return deco(model, seen, 0, [1])
    shown = [torch.cat([state[0, list(image)], state[0, -1:]]) for state in output.hidden_states]
    layers, beta = ([0, 2], 0.01) if "0/2" in spec else ([2], 1e-5)
    return revisit(
        model, SimpleNamespace(hidden=shown), len(image), (0, len(image)), layers, beta=beta
    )


@torch.no_grad()
def slow(family: Loaded, sample: Sample, spec: str) -> tuple[int, ...]:
    """A layer method's greedy answer from full passes."""
    hf = family.model.hf_model
    inputs = family.model.encode_sample(sample)
    image = tuple((inputs["input_ids"][0] == hf.config.image_token_id).nonzero()[:, 0].tolist())
    ids: list[int] = []
    for _ in range(TOKENS):
        output = hf(**inputs, use_cache=False, output_hidden_states=True)
        scores, _ = judged(family, spec, output, image)
        ids.append(int(scores.argmax()))
        inputs = longer(family.built, inputs, ids[-1])
    return up_to_end(family.built, ids)


def written(
    family: Loaded, spec: str, asked: list[Sample], **options: Any
) -> list[tuple[int, ...]]:
    made = family.model.answer_batch(asked, spec, max_new_tokens=TOKENS, **options)
    return [answer.ids for answer in made]


@pytest.mark.parametrize("spec", LAYERS)
def test_layer_methods(family: Loaded, spec: str) -> None:
    """Alone, in batches, lazily and at every step; as slow passes give where there are some."""
    alone = written(family, spec, samples(), batch_size=1, schedule="joint")
    assert written(family, spec, samples(), batch_size=3, schedule="lazy") == alone
    if not spec.startswith("only"):
        assert alone == [slow(family, sample, spec) for sample in samples()]


def test_every_decision_is_evidence(family: Loaded) -> None:
    named = {"dola": "layer", "deco": "probability", "only": "removed_heads"}
    for method, fact in {**named, "revisit": "image_token"}.items():
        spec = f"{method}:layers=1" if method in ("dola", "deco") else method
        answer = family.model.answer_batch([samples()[0]], spec, evidence=True, max_new_tokens=2)[0]
        assert answer.evidence
        assert all(fact in token.facts for token in answer.evidence)


@torch.no_grad()
@pytest.mark.parametrize("spec", ["icd", "lcd", "agla"])
def test_view_methods(family: Loaded, spec: str) -> None:
    """As separate passes over each view give."""
    sample, other = samples()[0], samples()[1]
    if spec == "lcd" and family.name in NO_IMAGE_FREE_FORM:
        with pytest.raises(secondsight.UnsupportedError, match="no form without an image"):
            written(family, spec, [sample])
        return
    given = (other.image,) if spec == "agla" else ()
    asked = Request(sample, spec, Settings(max_new_tokens=TOKENS), views=given)
    seen = {
        "icd": Sample(sample.image, sample.question, role=ROLE),
        "lcd": Sample(None, sample.question),
        "agla": Sample(other.image, sample.question),
    }[spec]
    views = [family.model.encode_sample(one) for one in (sample, seen)]
    if spec == "icd":
        texts = [family.model.tokenizer.decode(view["input_ids"][0]) for view in views]
        assert ROLE in texts[1]
        assert ROLE not in texts[0]
    hf = family.model.hf_model
    ids: list[int] = []
    for _ in range(TOKENS):
        base, branch = (hf(**view, use_cache=False).logits[0, -1].float() for view in views)
        scores, _ = {"icd": icd, "lcd": lcd, "agla": agla}[spec](base, branch)
        assert not math.isnan(float(scores.max()))
        ids.append(int(scores.argmax()))
        views = [longer(family.built, view, ids[-1]) for view in views]
    answer = family.model.submit(asked).result()
    assert answer.ids == up_to_end(family.built, ids)
