"""Token-for-token parity with what the official implementation computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import secondsight
from secondsight.decoding import SCHEDULES

NEW_TOKENS = 24
METHODS = {
    "regular": "regular",
    "ritual": "ritual:alpha=3,beta=0.1,transform=hflip",
    "vcd": "vcd:alpha=1,beta=0.1",
    "m3id": "m3id:decay=0.02,beta=0.1",
}
RUNS = [
    (method, prompt, image, select)
    for method in METHODS
    for prompt in (0, 1)
    for image in (0, 1)
    for select in ("greedy", "sample0")
]


@pytest.fixture(scope="module")
def meta(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "decoding" / "meta.json").read_text())


@pytest.fixture(scope="module")
def inputs(golden: Path) -> dict[str, torch.Tensor]:
    with np.load(golden / "decoding" / "inputs.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored}


def generate(
    model: secondsight.Model,
    inputs: dict[str, torch.Tensor],
    question: str,
    run: tuple[str, int, int, str],
    schedule: str,
    **options: Any,
) -> Any:
    method, _, image, select = run
    encoded = model.encode(Image.new("RGB", (56, 56)), question)
    branch = {
        "regular": (),
        "ritual": (encoded | {"pixel_values": inputs[f"images_pos_flip_{image}"]},),
        "vcd": (encoded | {"pixel_values": inputs[f"images_neg_noise500_seed1234_{image}"]},),
        "m3id": (model.encode(None, question),),
    }[method]
    return model.hf_model.generate(
        **encoded | {"pixel_values": inputs[f"pixel_values_pad_{image}"]},
        custom_generate=secondsight.decode,
        method=METHODS[method],
        views=branch,
        seeds=[0],
        schedule=schedule,
        do_sample=select == "sample0",
        temperature=1.0,
        top_k=0,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=None,
        **options,
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_tokens_of_every_run(
    golden_model: secondsight.Model,
    inputs: dict[str, torch.Tensor],
    meta: dict[str, Any],
    schedule: str,
) -> None:
    equal, compared, different = 0, 0, []
    for run in RUNS:
        name = "{}_p{}_i{}_{}".format(*run)
        want = meta["runs"][name]["tokens"]
        ids = generate(golden_model, inputs, meta["prompts"][run[1]], run, schedule)
        have = ids[0, -NEW_TOKENS:].tolist()
        same = sum(a == b for a, b in zip(have, want, strict=True))
        equal += same
        compared += len(want)
        if same < len(want):
            different.append(name)
    assert compared == len(RUNS) * NEW_TOKENS
    assert equal == compared, f"{equal} of {compared} tokens equal; different: {different}"


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "{}_p{}_i{}_{}".format(*run))
def test_logits_scores_and_kept_sets(
    golden: Path,
    golden_model: secondsight.Model,
    inputs: dict[str, torch.Tensor],
    meta: dict[str, Any],
    run: tuple[str, int, int, str],
) -> None:
    name = "{}_p{}_i{}_{}".format(*run)
    want = dict(np.load(golden / "decoding" / f"{name}.npz"))
    steps: list[Any] = []
    output = generate(
        golden_model,
        inputs,
        meta["prompts"][run[1]],
        run,
        "joint",
        observer=steps.append,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        output_hidden_states=True,
    )
    assert output.sequences[0, -NEW_TOKENS:].tolist() == want["tokens"].tolist()
    base = torch.stack(output.logits)[:, 0].numpy()
    scores = torch.stack(output.scores)[:, 0].numpy()
    top = want["top_ids"]
    np.testing.assert_allclose(np.take_along_axis(base, top, 1), want["base_top"], atol=2e-4)
    np.testing.assert_allclose(base[:, meta["probe_ids"]], want["base_probe"], atol=2e-4)
    np.testing.assert_allclose(_lse(base), want["base_lse"], atol=2e-4)
    hidden = np.stack([step[-1][0, -1].numpy() for step in output.hidden_states])
    np.testing.assert_allclose(hidden, want["base_hidden"], atol=2e-4)
    have = np.take_along_axis(scores, top, 1)
    if "cutoff" not in want:
        np.testing.assert_allclose(have, want["scores_top"], atol=8e-4)
        return
    branch = torch.stack([step.logits[1, 0] for step in steps]).numpy()
    np.testing.assert_allclose(np.take_along_axis(branch, top, 1), want["branch_top"], atol=2e-4)
    np.testing.assert_allclose(_lse(branch), want["branch_lse"], atol=2e-4)
    cutoff = np.log(0.1) + base.max(axis=1)
    np.testing.assert_allclose(cutoff, want["cutoff"], atol=2e-4)
    clear = np.abs(want["base_top"] - want["cutoff"][:, None]) > 1e-3
    kept = np.isfinite(want["scores_top"])
    assert (np.isfinite(have) == kept)[clear].all()
    both = np.isfinite(have) & kept
    np.testing.assert_allclose(have[both], want["scores_top"][both], atol=8e-4)
    certain = want["cutoff_gap"] > 1e-3
    counts = np.array([int(step.plausible.sum()) for step in steps])
    assert (counts == want["n_plausible"])[certain].all()


@pytest.mark.parametrize("method", METHODS)
def test_whole_vocabulary_of_the_first_steps(
    golden: Path,
    golden_model: secondsight.Model,
    inputs: dict[str, torch.Tensor],
    meta: dict[str, Any],
    method: str,
) -> None:
    run = (method, 0, 0, "greedy")
    want = dict(np.load(golden / "decoding" / f"full_{method}_p0_i0_greedy.npz"))
    output = generate(
        golden_model,
        inputs,
        meta["prompts"][0],
        run,
        "joint",
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
    )
    for step in range(3):
        base, scores = output.logits[step][0].numpy(), output.scores[step][0].numpy()
        assert base.shape == (32000,)
        np.testing.assert_allclose(base, want["base"][step], atol=2e-4)
        clear = np.abs(want["base"][step] - want["base"][step].max() - np.log(0.1)) > 1e-3
        kept = np.isfinite(want["scores"][step])
        assert (np.isfinite(scores) == kept)[clear].all()
        both = kept & np.isfinite(scores)
        np.testing.assert_allclose(scores[both], want["scores"][step][both], atol=8e-4)


def _lse(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    most = logits.max(axis=1)
    return most + np.log(np.exp(logits - most[:, None]).sum(axis=1))
