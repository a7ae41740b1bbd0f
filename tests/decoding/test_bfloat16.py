"""In bfloat16: cached, batched passes against full ones, and combinations in full precision.

The reference reads the whole sequence anew for every token, one sample and one view at a time. Its
roundings are others, so a tie may fall the other way: the decoder's own tokens are handed to it,
and the decoder's logits must be its logits, and no farther from float32's than they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import secondsight
from golden import recordings
from golden.recordings import Run

GoldenModel = Callable[..., secondsight.Model]
TOKENS = 16
RUNS = [
    run for run in recordings.runs("decoding", select="greedy") if (run.prompt, run.image) == (0, 0)
]
MOST, TYPICAL, FARTHER = 0.7, 0.1, 1.25
"""How far logits (of standard deviation 4) may be from the reference's: the largest difference and
the root mean square; and how much farther from float32's than the reference's are."""


def weights(method: str, step: int) -> tuple[float, ...]:
    """What each view's logits are multiplied with at a step, from the papers' formulas."""
    if method == "m3id":
        faded = math.exp(-0.02 * step)
        return 1 / faded, -(1 - faded) / faded
    return {"regular": (1.0,), "ritual": (1.0, 3.0), "vcd": (2.0, -1.0)}[method]


def views(model: secondsight.Model, run: Run) -> list[dict[str, Any]]:
    """The run's views: the recorded pixels, and the second view's."""
    inputs = recordings.inputs()
    encoded = model.encode(Image.new("RGB", (56, 56)), run.question)
    other = {
        "ritual": f"images_pos_flip_{run.image}",
        "vcd": f"images_neg_noise500_seed1234_{run.image}",
    }
    first = [encoded | {"pixel_values": run.pixels}]
    if run.setting in other:
        return [*first, encoded | {"pixel_values": inputs[other[run.setting]]}]
    return [*first, model.encode(None, run.question)] if run.setting == "m3id" else first


def reference(model: secondsight.Model, view: dict[str, Any], tokens: list[int]) -> np.ndarray:
    """The logits that each of the tokens was chosen from, (tokens, vocabulary), without a cache."""
    prompt = view["input_ids"]
    pixels = {name: value for name, value in view.items() if name == "pixel_values"}
    rows = []
    for length in range(len(tokens)):
        ids = torch.cat([prompt, torch.tensor([tokens[:length]], dtype=torch.long)], dim=1)
        if pixels:
            pixels = {"pixel_values": pixels["pixel_values"].to(model.hf_model.dtype)}
        with torch.no_grad():
            output = model.hf_model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **pixels
            )
        rows.append(output.logits[0, -1].float().numpy())
    return np.stack(rows)


def decode(model: secondsight.Model, run: Run, schedule: str) -> tuple[Any, list[Any]]:
    """Two samples at once, the run's twice; what `generate` returns, and the first's steps."""
    first, *others = [
        {name: torch.cat([value, value]) for name, value in view.items()}
        for view in views(model, run)
    ]
    steps: list[Any] = []
    output = model.hf_model.generate(
        **first,
        custom_generate=secondsight.decode,
        method=run.spec,
        views=others,
        schedule=schedule,
        observer=steps.append if schedule == "joint" else None,
        do_sample=False,
        max_new_tokens=TOKENS,
        eos_token_id=None,
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
    )
    return output, steps


@pytest.mark.parametrize("schedule", ["joint", "lazy"])
@pytest.mark.parametrize("run", RUNS, ids=str)
def test_against_the_slow_reference(golden_model: GoldenModel, run: Run, schedule: str) -> None:
    model, exact = golden_model(dtype="bfloat16"), golden_model()
    assert model.hf_model.dtype == torch.bfloat16
    output, _ = decode(model, run, schedule)
    tokens = output.sequences[0, -TOKENS:].tolist()
    assert output.sequences[1, -TOKENS:].tolist() == tokens
    logits = torch.stack(output.logits)[:, 0].float().numpy()
    scores = torch.stack(output.scores)[:, 0].float().numpy()
    read = [reference(model, view, tokens) for view in views(model, run)]
    np.testing.assert_allclose(logits, read[0], atol=MOST)
    assert rms(logits - read[0]) < TYPICAL
    full = reference(exact, views(exact, run)[0], tokens)
    assert rms(logits - full) < FARTHER * rms(read[0] - full)
    for step in range(TOKENS):
        shares = weights(run.setting, step)
        wanted = sum(share * view[step] for share, view in zip(shares, read, strict=True))
        spread = MOST * sum(map(abs, shares))
        kept = np.isfinite(scores[step])
        np.testing.assert_allclose(scores[step][kept], wanted[kept], atol=spread)
        assert wanted[tokens[step]] >= wanted[kept].max() - 2 * spread
        if run.setting != "regular":
            cutoff = np.log(0.1) + read[0][step].max()
            clear = np.abs(read[0][step] - cutoff) > 2 * MOST
            assert (kept == (read[0][step] >= cutoff))[clear].all()


def rms(differences: np.ndarray) -> float:
    return float(np.sqrt((differences**2).mean()))


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_combinations_are_made_in_full_precision(golden_model: GoldenModel, run: Run) -> None:
    """Of logits that were computed in bfloat16: their weighted sum is exact to float32."""
    _, steps = decode(golden_model(dtype="bfloat16"), run, "joint")
    seen = [step for step in steps if getattr(step, "sequence", 0) == 0]
    assert len(seen) == TOKENS
    for number, step in enumerate(seen):
        read = step.logits.reshape(step.logits.shape[0], -1, 32000)[:, 0].double().numpy()
        wanted = np.tensordot(np.array(weights(run.setting, number)), read, axes=1)
        scores = step.scores.reshape(-1, 32000)[0].double().numpy()
        kept = np.isfinite(scores)
        np.testing.assert_allclose(scores[kept], wanted[kept], atol=2e-5 * np.abs(read).max())
        if run.setting != "regular":
            cutoff = np.log(0.1) + read[0].max()
            clear = np.abs(read[0] - cutoff) > 1e-4
            assert (kept == (read[0] >= cutoff))[clear].all()
