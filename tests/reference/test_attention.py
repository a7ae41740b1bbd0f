"""The slow versions of PAI, SID, AvisC and VISTA against what the official codes computed.

One full pass over prompt and recorded answer decides every token anew, since what holds at a
position depends on those before it alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import secondsight
from golden import recordings
from golden.recordings import Run

from .avisc import blind, only_blind
from .llama import Llama
from .pai import Amplified, pai
from .sid import Pruned
from .views import drawn
from .vista import Steered, mixed, steering_vector

IMAGE = (35, 51)
STEPS = range(recordings.NEW_TOKENS)


class Case:
    """One recorded run: its checkpoint, its prompt with and without the image."""

    def __init__(self, model: secondsight.Model, run: Run) -> None:
        self.model, self.run, self.plain = model.hf_model, run, Llama(model.hf_model)
        prompt = model.encode(Image.open(run.image_file), run.question)
        self.ids = prompt["input_ids"][0].tolist()
        self.text_ids = model.encode(None, run.question)["input_ids"][0].tolist()
        self.length = len(self.ids)

    def embed(self) -> Tensor:
        """The prompt and the recorded tokens."""
        return self.plain.embed(self.ids + self.run.tokens, self.run.pixels)

    def embed_text(self) -> Tensor:
        """The same without the image."""
        return self.plain.embed(self.text_ids + self.run.tokens)

    def prompts(self) -> tuple[Tensor, Tensor]:
        """The prompt with and without the image."""
        count = recordings.NEW_TOKENS
        return self.embed()[:-count], self.embed_text()[:-count]

    def logits(self, llama: Llama, embeddings: Tensor) -> list[Tensor]:
        """What precedes every recorded token; one pass says it all, positions see what was."""
        hidden = llama.run(embeddings).hidden[-1]
        return list(llama.logits(hidden[-len(STEPS) - 1 : -1]))

    def choice(self, scores: list[Tensor]) -> list[int]:
        """What is written at `STEPS`."""
        if self.run.select != "sample0":
            return [int(one.argmax()) for one in scores]
        generator = torch.Generator().manual_seed(0)
        return [drawn(one, generator) for one in scores]

    def check(self, name: str, logits: list[Tensor], tolerance: float = 2e-4) -> None:
        """Compare logits with recorded ones."""
        for step, one in zip(STEPS, logits, strict=True):
            want = self.run[name][step]
            have = one[self.run["top_ids"][step].astype(int)].numpy()
            finite = np.isfinite(want) & np.isfinite(have)
            np.testing.assert_allclose(have[finite], want[finite], atol=tolerance, err_msg=name)

    def decides(self, scores: list[Tensor]) -> None:
        """Compare the choices with the recorded tokens."""
        assert self.choice(scores) == self.run.tokens


Make = Callable[[Run], Case]


@pytest.fixture(scope="module")
def case(golden_model: Callable[[str], secondsight.Model]) -> Make:
    """The case of a run."""
    return lambda run: Case(golden_model(run.preset), run)


def contrast(base: Tensor, branch: Tensor, alpha: float, beta: float) -> Tensor:
    scores = (1 + alpha) * base - alpha * branch
    scores[base < base.max() + math.log(beta)] = -math.inf
    return scores


@pytest.mark.parametrize("run", recordings.runs("attention", "pai"), ids=str)
def test_pai(case: Make, run: Run) -> None:
    one, official = case(run), run.official
    layers = range(official.get("start_layer", 0), official.get("end_layer", 0))
    alpha = official["alpha"] if official["use_attn"] else 0.0
    first = one.length if official["use_cfg"] else one.length - 1
    llama = Amplified(one.model, IMAGE, first, layers, alpha)
    base = one.logits(llama, one.embed())
    one.check("base_top", base)
    if not official["use_cfg"]:
        one.decides(base)
        return
    text = one.logits(one.plain, one.embed_text())
    one.check("branch_top", text)
    scores = [pai(b, c, gamma=official["gamma"]) for b, c in zip(base, text, strict=True)]
    one.check("scores_top", scores, 1e-3)
    one.decides(scores)


@pytest.mark.parametrize("run", recordings.runs("attention", "sid"), ids=str)
def test_sid(case: Make, run: Run) -> None:
    one, official = case(run), run.official
    layer, keep = official["fast_v_agg_layer"], official["fast_v_attention_rank"]
    llama = Pruned(one.model, IMAGE, one.length - 1, layer, keep)
    base = one.logits(one.plain, one.embed())
    branch = one.logits(llama, one.embed())
    kept = llama.kept[one.length - 1 : -1]
    one.check("base_top", base)
    one.check("branch_top", branch)
    assert kept == [sorted(run["kept_tokens"][step].tolist()) for step in STEPS]
    alpha = official["cd_alpha"]
    beta = 1e-30 if run.select == "greedy" else official["cd_beta"]
    scores = [contrast(b, c, alpha, beta) for b, c in zip(base, branch, strict=True)]
    one.decides(scores)


@pytest.mark.parametrize("run", recordings.runs("attention", "avisc"), ids=str)
def test_avisc(case: Make, run: Run) -> None:
    one, official = case(run), run.official
    attention = one.plain.run(one.prompts()[0]).attention
    found = blind(attention, one.length - 1, IMAGE, official["layer_gamma"], official["lamb"])
    assert found.tokens == sorted(run["blind_tokens"].tolist())
    assert found.layers == run["layers_used"].tolist()
    np.testing.assert_allclose(found.weight, run["token_weight"], atol=1e-6)
    np.testing.assert_allclose(found.threshold, run["threshold"], atol=1e-6)
    fill = {"zeros": 0.0, "ones": 1.0}[official["masking_scheme"]]
    base = one.logits(one.plain, one.embed())
    branch = one.logits(one.plain, only_blind(one.embed(), IMAGE, found.tokens, fill))
    one.check("base_top", base)
    one.check("branch_top", branch)
    both = zip(base, branch, strict=True)
    one.decides([contrast(b, c, official["cd_alpha"], official["cd_beta"]) for b, c in both])


@pytest.mark.parametrize("run", recordings.runs("attention", "vista"), ids=str)
def test_vista(case: Make, run: Run) -> None:
    one, official = case(run), run.official
    llama: Any = one.plain
    if official["vsv_lambda"]:
        vector = steering_vector(one.model, *one.prompts(), official=True)
        np.testing.assert_allclose(vector, run["steering_vector"], atol=2e-4)
        llama = Steered(one.model, vector, official["vsv_lambda"])
    mix = official["logits_alpha"] if official["logits_aug"] else 0.0
    start, stop = map(int, official["logits_layers"].split(",")) if mix else (0, 0)
    one.check("base_top", one.logits(llama, one.embed()), 4e-4)
    seen, places = llama.run(one.embed()), range(one.length - 1, one.length - 1 + len(STEPS))
    scores = [mixed(llama, seen, place, range(start, stop + 1), mix) for place in places]
    one.check("scores_top", scores, 6e-4)
    one.decides(scores)
