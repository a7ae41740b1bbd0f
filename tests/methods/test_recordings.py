"""Every recorded run of the official codes, as a user asks for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

import secondsight
from golden import recordings
from golden.recordings import Run
from secondsight import Request, Sample, Settings
from secondsight.decoding.step import Step
from secondsight.methods.lcd import LCD

GoldenModel = Callable[..., secondsight.Model]

LAYERS = recordings.runs("layer")
VIEWS = [
    run
    for method in ("icd", "lcd", "agla", "aglaown")
    for run in recordings.runs("attention", method)
    if run.spec is not None
]


def flipped(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.flip(-1)


def request(run: Run) -> Request:
    sample = Sample(run.image_file, run.question)
    settings = {**run.sampling, "max_new_tokens": run.new_tokens}
    if run.setting.startswith("revisit"):  # its code forgets temperature and top-p
        settings["top_p"] = 1.0
    given = (replace(sample, pixel_filter=flipped),) if run.setting.startswith("agla") else ()
    return Request(sample, run.spec or "regular", Settings(**settings), views=given)


@pytest.fixture
def torchs_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """All random numbers come from the seed 0, as in the recordings."""
    monkeypatch.setattr("secondsight.inference.prepare.derive_seed", lambda *parts: 0)


def answers(model: secondsight.Model, asked: Request) -> tuple[list[int], list[int], list[Step]]:
    """A request's tokens as ever, and watched: what its steps were."""
    plain = model.submit(asked).result()
    steps: list[Step] = []
    watched = model.submit(replace(asked, evidence=True), observer=steps.append).result()
    assert watched.evidence is not None
    assert [token.facts for token in watched.evidence] == [step.facts for step in steps]
    return list(plain.ids), list(watched.ids), steps


def compare(run: Run, steps: list[Step], tolerance: float) -> None:
    """Logits, scores and kept sets of a watched run."""
    for number, step in enumerate(steps):
        top = torch.from_numpy(run["top_ids"][number].astype(int))
        np.testing.assert_allclose(step.logits[0, top], run["base_top"][number], atol=tolerance)
        have, want = step.scores[top].numpy(), run["scores_top"][number]
        clear = "cutoff_gap" not in run or run["cutoff_gap"][number] > 1e-3
        assert not clear or (np.isfinite(have) == np.isfinite(want)).all()
        both = np.isfinite(have) & np.isfinite(want)
        scale = max(1.0, 3e-1 * float(np.abs(want[both]).max(initial=0)))
        np.testing.assert_allclose(have[both], want[both], atol=4 * tolerance * scale, rtol=0)
        if clear and "n_plausible" in run and step.plausible is not None:
            assert int(step.plausible.sum()) == run["n_plausible"][number]


def decisions(run: Run, facts: dict[str, Any], number: int) -> None:
    """What the method decided at a step."""

    def close(name: str, have: Any) -> None:
        if name in run:
            np.testing.assert_allclose(have, run[name][number], rtol=2e-3, atol=1e-4)

    if "layer" in run:
        assert facts["layer"] == run["layer"][number]
    method = run.setting.removeprefix("n32_").partition("_")[0]
    if method == "dola":
        close("js_divs", list(facts["distances"].values()))
    elif method == "deco":
        close("layer_prob", facts["probability"])
    elif method == "only":
        assert facts["removed_heads"] == np.flatnonzero(run["removed_heads"][number]).tolist()
        assert (facts["side"] == "added") == run["collaborative"][number]
        close("tvd", facts["distance"])
    elif method == "revisit":
        assert facts["image_token"] == run["vision_token"][number]
    elif run.setting.startswith("lcd"):
        close("lm_entropy", facts["entropy"])
        close("alpha_t", facts["weight"])


@pytest.mark.usefixtures("torchs_draws")
@pytest.mark.parametrize(
    "run",
    [
        pytest.param(run, marks=pytest.mark.slow)
        if run.preset == "deep32" and run.select == "sample0"
        else run
        for run in LAYERS + VIEWS
    ],
    ids=str,
)
def test_tokens_logits_and_decisions(golden_model: GoldenModel, run: Run) -> None:
    model = golden_model(run.preset)
    with run.features(model) if run.preset == "deep32" else nullcontext():
        plain, watched, steps = answers(model, request(run))
    assert plain == run.tokens
    assert watched == run.tokens
    compare(run, steps, 2e-4 if run.kind == "attention" else 4e-4)
    for number, step in enumerate(steps):
        decisions(run, dict(step.facts), number)


@pytest.fixture(scope="module")
def other_llama(golden_model: GoldenModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The language model of another checkpoint, in a folder of its own, without a tokenizer."""
    hf = golden_model("tiny").hf_model
    llama = LlamaForCausalLM(hf.config.text_config)
    llama.model.load_state_dict(hf.model.language_model.state_dict())
    llama.lm_head.load_state_dict(hf.lm_head.state_dict())
    folder = tmp_path_factory.mktemp("llama")
    llama.save_pretrained(folder)
    return str(folder)


BESIDE = [run for run in recordings.runs("attention", "lcd") if run.spec is None]


@pytest.mark.usefixtures("torchs_draws")
@pytest.mark.parametrize("run", BESIDE, ids=str)
def test_another_language_model(golden_model: GoldenModel, other_llama: str, run: Run) -> None:
    settings = {name: run.official[name] for name in ("alpha", "beta", "entropy")}
    asked = replace(request(run), method=LCD(model=other_llama, **settings))
    plain, watched, steps = answers(golden_model(run.preset), asked)
    assert plain == run.tokens
    assert watched == run.tokens
    compare(run, steps, 2e-4)
    for number, step in enumerate(steps):
        decisions(run, dict(step.facts), number)


def test_everything_is_compared() -> None:
    assert (len(LAYERS), len(VIEWS), len(BESIDE)) == (92, 12 + 8 + 24, 4)
