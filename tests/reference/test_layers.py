"""DoLa, DeCo, ONLY and ReVisiT in the engine against their slow versions, on prompts of our own.

Every step of the slow versions is a full pass over everything, one sample at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import secondsight
from secondsight.decoding import SCHEDULES
from secondsight.decoding.collate import join, padding_id

from .layers import Decision, deco, divergence, dola, only, revisit
from .llama import Llama, Pass
from .views import drawn

GoldenModel = Callable[..., secondsight.Model]
Judge = Callable[[Llama, Pass, int, tuple[int, int]], Decision]

TOKENS = 6
QUESTIONS = ("Is there a dog?", "Please describe this image in detail.", "What colour is it? Red?")

METHODS: dict[str, Judge] = {
    "dola": lambda m, p, at, image: dola(m, p, at, [0, 2, 4]),
    "dola:layers=high,beta=0.01": lambda m, p, at, image: dola(m, p, at, [6, 8, 10], beta=0.01),
    "dola:layers=1/7-9,beta=0": lambda m, p, at, image: dola(m, p, at, [1, 7, 8, 9], beta=0),
    "dola:layers=all,variant=paper": lambda m, p, at, image: dola(
        m, p, at, [0, 2, 4, 6, 8, 10], measure=divergence
    ),
    "deco": lambda m, p, at, image: deco(m, p, at, [8, 9, 10]),
    "deco:alpha=2,top_p=0.7,top_k=5,layers=all": lambda m, p, at, image: deco(
        m, p, at, range(1, 12), alpha=2, top_p=0.7, top_k=5
    ),
    "deco:variant=paper,top_k=2,layers=6": lambda m, p, at, image: deco(m, p, at, [6], top_k=32000),
    "only": only,
    "only:gamma=1.5,layer=3,alpha_pos=1,beta=0.01": lambda m, p, at, image: only(
        m, p, at, image, gamma=1.5, layer=3, alpha_pos=1, beta=0.01
    ),
    "only:layer=11,alpha_neg=2": lambda m, p, at, image: only(
        m, p, at, image, layer=11, alpha_neg=2
    ),
    "revisit": lambda m, p, at, image: revisit(m, p, at, image, [12]),
    "revisit:layers=high,beta=0.001,variant=paper": lambda m, p, at, image: revisit(
        m, p, at, image, [6, 8, 10, 12], beta=0.001, measure=divergence
    ),
    "revisit:layers=3,beta=0": lambda m, p, at, image: revisit(m, p, at, image, [3], beta=0),
}


@pytest.fixture(scope="module")
def model(golden_model: GoldenModel) -> secondsight.Model:
    return golden_model("deep")


@pytest.fixture(scope="module")
def prompts(model: secondsight.Model, picture: Callable[..., Image.Image]) -> list[dict[str, Any]]:
    return [model.encode(picture(n, (60, 40)), question) for n, question in enumerate(QUESTIONS)]


def slow(
    llama: Llama, inputs: dict[str, Any], judge: Judge, seed: int | None
) -> tuple[list[int], list[np.ndarray]]:
    """Tokens and scores of one sample."""
    ids: list[int] = inputs["input_ids"][0].tolist()
    start = ids.index(llama.model.config.image_token_id)
    image = (start, start + llama.model.config.image_seq_length)
    race = torch.Generator().manual_seed(seed) if seed is not None else None
    tokens: list[int] = []
    every = []
    for _ in range(TOKENS):
        seen = llama.run(llama.embed(ids + tokens, inputs["pixel_values"]))
        scores, _ = judge(llama, seen, len(ids) + len(tokens) - 1, image)
        tokens.append(int(scores.argmax()) if race is None else drawn(scores, race))
        every.append(scores.numpy())
    return tokens, every


def fast(
    model: secondsight.Model,
    prompts: list[dict[str, Any]],
    spec: str,
    seeds: list[int] | None,
    **options: Any,
) -> Any:
    return model.hf_model.generate(
        **join(prompts, padding_id(model.hf_model)),
        custom_generate=secondsight.decode,
        method=spec,
        seeds=seeds,
        do_sample=seeds is not None,
        **({"top_k": 0, "temperature": 1.0} if seeds is not None else {}),
        eos_token_id=None,
        max_new_tokens=TOKENS,
        **options,
    )


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
@pytest.mark.parametrize("spec", METHODS)
def test_every_schedule(
    model: secondsight.Model, prompts: list[dict[str, Any]], spec: str, sampled: bool
) -> None:
    seeds = [31, 32, 33] if sampled else None
    llama = Llama(model.hf_model)
    want = [
        slow(llama, inputs, METHODS[spec], seeds[number] if seeds else None)
        for number, inputs in enumerate(prompts)
    ]
    for schedule in SCHEDULES:
        ids = fast(model, prompts, spec, seeds, schedule=schedule)[:, -TOKENS:].tolist()
        assert ids == [tokens for tokens, _ in want], schedule
    output = fast(model, prompts, spec, seeds, output_scores=True, return_dict_in_generate=True)
    for step, scores in enumerate(output.scores):
        slowly = np.stack([every[step] for _, every in want])
        assert (np.isfinite(scores.numpy()) == np.isfinite(slowly)).all()
        np.testing.assert_allclose(scores.numpy(), slowly, rtol=1e-3, atol=2e-3)


def test_the_comparison_is_worth_something(
    model: secondsight.Model, prompts: list[dict[str, Any]]
) -> None:
    """Each method says something of its own."""
    specs = ("regular", "dola", "deco:alpha=2,top_p=0.7,top_k=5,layers=all", "only", "revisit")
    written = {str(fast(model, prompts, spec, None).tolist()) for spec in specs}
    assert len(written) == len(specs)
