"""The slow versions against the official codes: they may judge the fast ones only if they agree.

One full pass over prompt and recorded answer gives every step, since what holds at a position
depends on those before it alone; every token is decided anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import secondsight
from golden import recordings
from golden.recordings import Run

from .layers import Decision, deco, dola, only, revisit
from .llama import Llama
from .views import agla, drawn, icd, lcd, warped

GoldenModel = Callable[..., secondsight.Model]
Decide = Callable[[int], Decision]

EQUAL = ("layer", "vision_token", "collaborative", "removed_heads")
EQUAL += ("n_outlier_text", "n_outlier_image")
CLOSE = ("js_divs", "layer_prob", "tvd", "entropy_text", "entropy_image", "lm_entropy")


def ids_of(llama: Llama, ids: list[int]) -> list[int]:
    """Recorded ids with the image's slots."""
    config = llama.model.config
    slots = [config.image_token_id] * config.image_seq_length
    return [token for one in ids for token in (slots if one == -200 else [one])]


def layer_method(llama: Llama, run: Run) -> Decide:
    """What a layer method decides at every step of a run."""
    ids = ids_of(llama, recordings.meta()["input_ids"][run.prompt])
    image = (ids.index(llama.model.config.image_token_id), 0)
    image = (image[0], image[0] + llama.model.config.image_seq_length)
    side = llama.model.config.vision_config.image_size
    pixels = run.pixels if run.preset == "deep" else torch.zeros(1, 3, side, side)
    seen = llama.run(llama.embed(ids + run.tokens[:-1], pixels))
    last, set_, depth = len(ids) - 1, run.official, llama.depth
    method = run.setting.removeprefix("n32_").partition("_")[0]
    if method == "dola":
        layers = set_.get("candidate_premature_layers") or [set_["base_layer"]]
        beta = set_["relative_top"]
        return lambda t: dola(llama, seen, last + t, layers, beta=beta)
    if method == "deco":
        named = {"top_p": "threshold_top_p", "top_k": "threshold_top_k", "alpha": "alpha"}
        options = {ours: set_[theirs] for ours, theirs in named.items()}
        return lambda t: deco(llama, seen, last + t, set_["early_exit_layers"], **options)
    if method == "only":
        named = {"alpha_pos": "ritual_alpha_pos", "alpha_neg": "ritual_alpha_neg"}
        named |= {"beta": "ritual_beta", "gamma": "js_gamma", "layer": "enhance_layer_index"}
        options = {ours: set_[theirs] for ours, theirs in named.items()}
        return lambda t: only(llama, seen, last + t, image, **options)
    words = {"last": [depth], "all": list(range(0, depth + 1, 2))}
    words["low"] = [*range(0, depth // 2, 2), depth]
    listed = set_["early_exit_layers"]
    layers = words[listed] if isinstance(listed, str) else [n for n in listed if n < depth]
    beta = set_["relative_top"]
    return lambda t: revisit(llama, seen, last + t, image, layers, beta=beta)


def view_method(llama: Llama, other: Llama, run: Run) -> Decide:
    """What a method on views decides at every step of a run."""
    recorded = recordings.meta()["input_ids"][run.prompt]
    pixels: Tensor | None = run.pixels
    method = run.setting.partition("-")[0]
    set_, judge, beside = run.official, llama, recorded
    if method == "icd":
        beside = recordings.meta()["disturbed"][run.setting]["ids"]
    elif method == "lcd":
        judge = llama if set_["language_model"] == "own" else other
        beside, pixels = [token for token in recorded if token != -200], None
    else:
        pixels = recordings.inputs()[f"images_pos_flip_{run.image}"]
    ids, branch_ids = ids_of(llama, recorded), ids_of(llama, beside)
    written = run.tokens[:-1]
    main = llama.run(llama.embed(ids + written, run.pixels)).hidden[-1][len(ids) - 1 :]
    side = judge.run(judge.embed(branch_ids + written, pixels)).hidden[-1][len(branch_ids) - 1 :]

    def decide(t: int) -> Decision:
        base, branch = llama.logits(main[t]), judge.logits(side[t])
        if method == "lcd":
            options = {name: set_[name] for name in ("alpha", "beta", "entropy")}
            return lcd(base, branch, **options)
        options = {"alpha": set_["cd_alpha"], "beta": set_["cd_beta"]}
        if method == "icd":
            return icd(base, branch, **options)
        # The code copies the base's cache into the branch at every step but the first.
        return agla(base, base if method == "agla" and t else branch, **options)

    return decide


def compare(run: Run, decide: Decide) -> None:
    """Every token, decision and score of a run."""
    race = torch.Generator().manual_seed(0)
    sampling = run.sampling
    for step, token in enumerate(run.tokens):
        scores, facts = decide(step)
        top = run["top_ids"][step].astype(int)
        np.testing.assert_allclose(facts["base"][top], run["base_top"][step], atol=4e-4)
        np.testing.assert_allclose(facts["branch"][top], run["branch_top"][step], atol=4e-4)
        for name in EQUAL:
            if name in facts and name in run:
                np.testing.assert_array_equal(facts[name], run[name][step], err_msg=name)
        for name in CLOSE:
            if name in facts and name in run:
                close = {"rtol": 1e-3, "atol": 5e-5}
                np.testing.assert_allclose(np.array(facts[name]), run[name][step], **close)
        if "candidate_ids" in run:
            want = run["candidate_ids"][step]
            assert sorted(facts["candidates"]) == sorted(want[want >= 0])
        drawing = sampling["temperature"] > 0 and not run.setting.startswith("revisit")
        if drawing:
            scores = warped(scores, sampling["temperature"], sampling["top_p"])
        clear = "cutoff_gap" not in run or run["cutoff_gap"][step] > 1e-3
        have, recorded = scores[top].numpy(), run["scores_top"][step]
        both = np.isfinite(have) & np.isfinite(recorded)
        assert not clear or (np.isfinite(have) == np.isfinite(recorded)).all()
        np.testing.assert_allclose(have[both], recorded[both], atol=1.5e-3)
        chosen = drawn(scores, race) if sampling["temperature"] > 0 else int(scores.argmax())
        assert chosen == token, step


LAYERS = recordings.runs("layer", preset="deep")
DEEPER = recordings.runs("layer", preset="deep32", select="greedy")  # the drawn ones take long
VIEWS = [
    run
    for method in ("icd", "lcd", "agla", "aglaown")
    for run in recordings.runs("attention", method)
]


def test_all_runs_are_compared() -> None:
    assert (len(LAYERS), len(DEEPER), len(VIEWS)) == (68, 12, 12 + 12 + 24)


@pytest.mark.parametrize(
    "run",
    [*LAYERS, *(pytest.param(run, marks=pytest.mark.slow) for run in DEEPER)],
    ids=str,
)
def test_layer_methods(golden_model: GoldenModel, run: Run) -> None:
    model = golden_model(run.preset)
    with run.features(model) if run.preset == "deep32" else nullcontext():
        decide: Any = layer_method(Llama(model.hf_model), run)
    compare(run, decide)


@pytest.mark.parametrize("run", VIEWS, ids=str)
def test_view_methods(golden_model: GoldenModel, run: Run) -> None:
    llama = Llama(golden_model(run.preset).hf_model)
    other = Llama(golden_model("tiny").hf_model)
    compare(run, view_method(llama, other, run))


def test_a_draw_is_torchs() -> None:
    scores = torch.randn(50, generator=torch.Generator().manual_seed(1))
    scores[::3] = -math.inf
    race = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    want = [int(torch.multinomial(scores.softmax(-1), 1)) for _ in range(20)]
    assert [drawn(scores, race) for _ in range(20)] == want
