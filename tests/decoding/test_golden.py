"""Token-for-token parity with what the official implementation computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import secondsight
from golden import recordings
from golden.recordings import NEW_TOKENS, Run

RUNS = recordings.runs("decoding")
METHODS = ("regular", "ritual", "vcd", "m3id")
GoldenModel = Callable[..., secondsight.Model]


def generate(model: secondsight.Model, run: Run, schedule: str, **options: Any) -> Any:
    """The run through `generate`, from the recorded pixel values."""
    inputs = recordings.inputs()
    encoded = model.encode(Image.new("RGB", (56, 56)), run.question)
    branch = {
        "regular": (),
        "ritual": (encoded | {"pixel_values": inputs[f"images_pos_flip_{run.image}"]},),
        "vcd": (encoded | {"pixel_values": inputs[f"images_neg_noise500_seed1234_{run.image}"]},),
        "m3id": (model.encode(None, run.question),),
    }[run.setting]
    return model.hf_model.generate(
        **encoded | {"pixel_values": run.pixels},
        custom_generate=secondsight.decode,
        method=run.spec,
        views=branch,
        seeds=[0],
        schedule=schedule,
        do_sample=run.select == "sample0",
        temperature=1.0,
        top_k=0,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=None,
        **options,
    )


@pytest.mark.thorough
@pytest.mark.parametrize("schedule", ["auto", "lazy"])
def test_tokens_of_every_run(golden_model: GoldenModel, schedule: str) -> None:
    """The schedule that reads all views at every step is held to its tokens further down."""
    equal, compared, different = 0, 0, []
    runs = [run for run in RUNS if run.repeatable]
    for run in runs:
        have = generate(golden_model(), run, schedule)[0, -NEW_TOKENS:].tolist()
        same = sum(a == b for a, b in zip(have, run.tokens, strict=True))
        equal += same
        compared += NEW_TOKENS
        if same < NEW_TOKENS:
            different.append(str(run))
    assert len(RUNS) == 32
    assert compared == len(runs) * 24
    assert equal == compared, f"{equal} of {compared} tokens equal; different: {different}"


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_logits_scores_and_kept_sets(golden_model: GoldenModel, run: Run) -> None:
    steps: list[Any] = []
    output = generate(
        golden_model(),
        run,
        "joint",
        observer=steps.append,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        output_hidden_states=True,
    )
    assert output.sequences[0, -NEW_TOKENS:].tolist() == run.tokens
    base = torch.stack(output.logits)[:, 0].numpy()
    scores = torch.stack(output.scores)[:, 0].numpy()
    top, probes = run["top_ids"].astype(int), recordings.meta()["probe_ids"]
    np.testing.assert_allclose(np.take_along_axis(base, top, 1), run["base_top"], atol=2e-4)
    np.testing.assert_allclose(base[:, probes], run["base_probe"], atol=2e-4)
    np.testing.assert_allclose(_lse(base), run["base_lse"], atol=2e-4)
    wanted = run["base_hidden"]
    hidden = np.stack([step[-1][0, -1].numpy() for step in output.hidden_states])
    np.testing.assert_allclose(hidden[:, : wanted.shape[1]], wanted, atol=2e-4)
    have = np.take_along_axis(scores, top, 1)
    if "cutoff" not in run:
        np.testing.assert_allclose(have, run["scores_top"], atol=8e-4)
        return
    branch = torch.stack([step.logits[1] for step in steps]).numpy()
    np.testing.assert_allclose(np.take_along_axis(branch, top, 1), run["branch_top"], atol=2e-4)
    np.testing.assert_allclose(branch[:, probes], run["branch_probe"], atol=2e-4)
    np.testing.assert_allclose(_lse(branch), run["branch_lse"], atol=2e-4)
    cutoff = np.log(0.1) + base.max(axis=1)
    np.testing.assert_allclose(cutoff, run["cutoff"], atol=2e-4)
    clear = np.abs(run["base_top"] - run["cutoff"][:, None]) > 1e-3
    kept = np.isfinite(run["scores_top"])
    assert (np.isfinite(have) == kept)[clear].all()
    both = np.isfinite(have) & kept
    np.testing.assert_allclose(have[both], run["scores_top"][both], atol=8e-4)
    certain = run["cutoff_gap"] > 1e-3
    counts = np.array([int(step.plausible.sum()) for step in steps])
    assert (counts == run["n_plausible"])[certain].all()


@pytest.mark.parametrize("method", METHODS)
def test_whole_vocabulary_of_the_first_steps(golden_model: GoldenModel, method: str) -> None:
    """Every 64th logit, and exactly the recorded tokens keep a chance."""
    want = np.load(recordings.DATA / "decoding" / f"whole_{method}.npz")
    run = next(run for run in RUNS if str(run) == f"{method}_p0_i0_greedy")
    output = generate(
        golden_model(),
        run,
        "joint",
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
    )
    for step in range(3):
        base, scores = output.logits[step][0].numpy(), output.scores[step][0].numpy()
        assert base.shape == (32000,)
        np.testing.assert_allclose(base[::64], want["base"][step], atol=2e-4)
        kept, ids = np.isfinite(scores), want[f"ids_{step}"].astype(int)
        clear = np.abs(base - base.max() - np.log(0.1)) > 1e-3
        if int(want[f"count_{step}"]) == len(base):  # nothing is dropped
            assert kept.all()
        else:
            recorded = np.zeros(len(base), bool)
            recorded[ids] = True
            assert (kept == recorded)[clear].all()
        both = ids[kept[ids]]
        np.testing.assert_allclose(
            scores[both], want[f"scores_{step}"][kept[ids]], atol=8e-4, err_msg=str(step)
        )


def _lse(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    most = logits.max(axis=1)
    return most + np.log(np.exp(logits - most[:, None]).sum(axis=1))
