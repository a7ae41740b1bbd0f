"""Steering by the engine against a Llama by hand, which reads everything anew for each token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import secondsight
from reference.llama import Llama
from reference.vista import Steered, mixed, steering_vector
from secondsight import Request, Sample, Settings, UnsupportedError
from secondsight.decoding import Step

QUESTION = "Is there a dog?"
TOKENS = 6
LAYERS = {"vista": (1, 1), "vista:scale=1,layers=0": (0, 0), "vista:mix=0": None}
"""By spec, the layers that have a share in a model of two."""


def slow(model: secondsight.Model, image: Image.Image, spec: str) -> tuple[list[int], np.ndarray]:
    """Tokens, and the scores that they were the best of."""
    method: Any = secondsight.methods.create(spec)
    hf = model.hf_model
    prompt, plain = model.encode(image, QUESTION), Llama(hf)
    ids = prompt["input_ids"][0].tolist()
    text = model.encode(None, QUESTION)["input_ids"][0].tolist()
    seen = plain.embed(ids, prompt["pixel_values"])
    vector = steering_vector(hf, seen, plain.embed(text), official=False)
    llama: Any = Steered(hf, vector, method.scale)
    written: list[int] = []
    scores = []
    for _ in range(TOKENS):
        found = llama.run(plain.embed(ids + written, prompt["pixel_values"]))
        layers = LAYERS[spec]
        shares = range(layers[0], layers[1] + 1) if layers else ()
        scores.append(mixed(llama, found, -1, shares, method.mix if layers else 0.0))
        written.append(int(scores[-1].argmax()))
    return written, torch.stack(scores).numpy()


@pytest.mark.parametrize("spec", LAYERS)
def test_tokens_and_scores(
    model: secondsight.Model, make_image: Callable[..., Image.Image], spec: str
) -> None:
    settings, steps = Settings(max_new_tokens=TOKENS), {}
    tickets = []
    for number in range(3):  # in company, with one that is not steered among them
        steps[number] = []
        sample = Sample(make_image(number + 1), QUESTION)
        for method in (spec, "regular"):
            watch: list[Step] = steps[number] if method == spec else []
            tickets.append(model.submit(Request(sample, method, settings), observer=watch.append))
    for ticket in tickets:
        ticket.result()
    for number, own in steps.items():
        ids, scores = slow(model, make_image(number + 1), spec)
        have = [step.token for step in own]
        assert have == ids[: len(have)]
        found = torch.stack([step.scores for step in own]).numpy()
        np.testing.assert_allclose(found, scores[: len(have)], rtol=1e-4, atol=5e-4)


def test_an_image_and_our_own_loop_are_needed(
    model: secondsight.Model, make_image: Callable[..., Image.Image]
) -> None:
    with pytest.raises(secondsight.UserError, match="image"):
        model.answer(None, QUESTION, "vista")
    inputs = model.encode(make_image(1), QUESTION)
    with pytest.raises(UnsupportedError, match=r"own model\.answer"):
        model.hf_model.generate(
            **inputs, custom_generate=secondsight.decode, method="vista", max_new_tokens=2
        )
