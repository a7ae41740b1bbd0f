"""PAI, SID, AvisC and VISTA: every recorded run of the official codes, through `Model.answer`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import secondsight
from golden import recordings
from golden.recordings import Run
from secondsight import Request, Sample, Settings
from secondsight.decoding import Step
from secondsight.layout import PromptLayout
from secondsight.methods.pai import AmplifyImage
from secondsight.methods.sid import KeepLeastAttended

GoldenModel = Callable[..., secondsight.Model]
METHODS = ("pai", "sid", "avisc")
RUNS = [run for method in METHODS for run in recordings.runs("attention", method)]
STEERED = recordings.runs("attention", "vista")
"""Not by `generate`, which has no prompt without the image."""


@pytest.mark.parametrize(
    "run", [run for run in (*RUNS, *STEERED) if run.select != "sample0"], ids=str
)
def test_answers(golden_model: GoldenModel, run: Run) -> None:
    answer = golden_model(run.preset).answer(
        run.image_file, run.question, run.spec, max_new_tokens=run.new_tokens, evidence=True
    )
    assert list(answer.ids) == run.tokens
    facts = [token.facts for token in answer.evidence or ()]
    if "kept_tokens" in run:
        kept = [list(step["kept_tokens"]) for step in facts]
        assert kept == [sorted(step) for step in run["kept_tokens"].tolist()]
    if "blind_tokens" in run:
        assert list(facts[0]["blind_tokens"]) == sorted(run["blind_tokens"].tolist())
        assert list(facts[0]["layers_used"]) == run["layers_used"].tolist()


def generate(model: secondsight.Model, run: Run, schedule: str, **options: Any) -> Any:
    """The run through `generate`, from the recorded pixel values."""
    prompt = model.encode(Image.open(run.image_file), run.question)
    prompt |= {"pixel_values": run.pixels}
    branch = {
        "pai": [model.encode(None, run.question)] if run.official.get("use_cfg") else [],
        "sid": [prompt],
        "avisc": [prompt],
    }[run.setting.partition("-")[0]]
    return model.hf_model.generate(
        **prompt,
        custom_generate=secondsight.decode,
        method=run.spec,
        views=branch,
        seeds=[0],
        schedule=schedule,
        do_sample=run.select == "sample0",
        temperature=1.0,
        top_k=0,
        max_new_tokens=run.new_tokens,
        eos_token_id=None,
        **options,
    )


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_tokens_without_a_watcher(golden_model: GoldenModel, run: Run) -> None:
    """Views are read when they matter, and catch up."""
    have = generate(golden_model(run.preset), run, "lazy")[0, -run.new_tokens :].tolist()
    assert have == run.tokens


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_tokens_and_logits(golden_model: GoldenModel, run: Run) -> None:
    steps: list[Any] = []
    have = generate(golden_model(run.preset), run, "joint", observer=steps.append)
    assert have[0, -run.new_tokens :].tolist() == run.tokens
    logits = torch.stack([step.logits for step in steps]).numpy()
    scores = torch.stack([step.scores for step in steps]).numpy()
    top, probes = run["top_ids"].astype(int), recordings.meta()["probe_ids"]
    for number, name in enumerate(("base", "branch")[: logits.shape[1]]):
        have = logits[:, number]
        near = {"atol": 2e-4, "err_msg": name}
        np.testing.assert_allclose(np.take_along_axis(have, top, 1), run[f"{name}_top"], **near)
        np.testing.assert_allclose(have[:, probes], run[f"{name}_probe"], **near)
    have, want = np.take_along_axis(scores, top, 1), run["scores_top"]
    both = np.isfinite(have) & np.isfinite(want)
    weight = 1 + 2 * float(run.official.get("cd_alpha", 1.0))
    np.testing.assert_allclose(have[both], want[both], atol=2e-4 * weight)
    if ("cutoff" in run and run.select != "greedy") or run.setting.startswith("pai"):
        clear = np.abs(run["base_top"] - run["cutoff"][:, None]) > 1e-3 if "cutoff" in run else ...
        assert (np.isfinite(have) == np.isfinite(want))[clear].all()


@pytest.mark.parametrize("run", STEERED, ids=str)
def test_steered_logits(golden_model: GoldenModel, run: Run) -> None:
    steps: list[Step] = []
    settings = Settings(max_new_tokens=run.new_tokens)
    asked = Request(Sample(run.image_file, run.question), run.spec, settings)
    golden_model(run.preset).submit(asked, observer=steps.append).result()
    same = next(
        (n for n, step in enumerate(steps) if step.token != run.tokens[n]), run.new_tokens - 1
    )
    scores = torch.stack([step.scores for step in steps[: same + 1]]).numpy()
    top = run["top_ids"].astype(int)[: same + 1]
    have = np.take_along_axis(scores, top, 1)
    np.testing.assert_allclose(have, run["scores_top"][: same + 1], atol=4e-3)
    assert run.select == "sample0" or same == run.new_tokens - 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vista:layers=9", "names layer 9"),
        ("vista:scale=-1", "scale must be at least 0"),
        ("vista:mix=2", "mix must be between 0 and 1"),
        ("pai:layers=1-9", "names layer 2"),
        ("pai:layers=some", "layers must be"),
        ("pai:gamma=0.5", "gamma must be at least 1"),
        ("pai:official=perhaps", "official must be true or false"),
        ("sid:layer=7", "give one from 1 to 1"),
        ("sid:keep=99", "the image has 9 tokens"),
        ("sid:keep=2.5", "keep must be a number of image tokens"),
        ("sid:keep=0", "keep must be a number of image tokens"),
        ("avisc:fill=gray", "fill must be zeros, ones or noise"),
        ("avisc:gamma=2", "gamma must be between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    model: secondsight.Model, picture: Callable[..., Image.Image], spec: str, message: str
) -> None:
    with pytest.raises(secondsight.UserError, match=message) as refused:
        model.answer(picture(), "Is there a dog?", spec)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("spec", METHODS)
def test_an_image_is_needed(model: secondsight.Model, spec: str) -> None:
    with pytest.raises(secondsight.UserError, match="none was given"):
        model.answer(None, "Is there a dog?", spec)


def test_evidence_is_plain_data(
    model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    for spec, fact in (("sid", "kept_tokens"), ("avisc", "blind_tokens")):
        answer = model.answer(picture(), "Why?", spec, max_new_tokens=4, evidence=True)
        assert fact in json.loads(answer.to_json())["evidence"][0]["facts"]


def test_defaults_follow_the_model() -> None:
    """The official numbers at their depth, and their shares at others."""
    official = AmplifyImage(0.2)
    assert official.layers(32) == tuple(range(2, 32))
    assert official.layers(12) == tuple(range(1, 12))
    assert official.layers(40)[0] == 2
    assert KeepLeastAttended(2, 0.17).layers(32) == range(1, 32)
    assert KeepLeastAttended(2, 0.17).layers(2) == range(0, 2)
    assert KeepLeastAttended(2, 0.17).kept(PromptLayout(700, (range(35, 611),))) == 98
    assert KeepLeastAttended(2, 0.01).kept(PromptLayout(20, (range(1, 11),))) == 1


def test_noise_is_drawn_once_and_by_the_seed(
    model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    def ids(seed: int) -> tuple[int, ...]:
        spec = "avisc:fill=noise,alpha=4,beta=0.001"
        return model.answer(picture(4), "Why?", spec, max_new_tokens=12, seed=seed).ids

    assert ids(1) == ids(1)
    assert len({ids(seed) for seed in range(4)}) > 1
