"""The ways to decode that are compared: transformers' own, the papers' two passes, and ours.

All begin with an opened image and end with the last token, so all encode, and make their views,
within what is timed.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

from secondsight.decoding.sampling import generator
from secondsight.decoding.transformers5 import CACHE
from secondsight.inference.model import Model
from secondsight.methods import Method
from secondsight.profiling.meter import Clock
from secondsight.request import Request
from secondsight.sample import Sample
from secondsight.settings import Settings

Inputs = dict[str, Any]


def regular(model: Model, sample: Sample, tokens: int, clock: Clock) -> list[int]:
    """Regular decoding by transformers' own ``generate``."""
    inputs = model.encode_sample(sample)
    ids = model.hf_model.generate(
        **inputs, max_new_tokens=tokens, do_sample=False, stopping_criteria=[clock]
    )
    return list(ids[0, inputs["input_ids"].shape[1] :].tolist())


def one_view(model: Model, method: Method, number: int, sample: Sample, clock: Clock) -> list[int]:
    """One token from one view alone: the least that reading it costs."""
    seen = method.views(sample)[number].apply(sample, generator(0))
    return regular(model, seen, 1, clock)


def ours(
    model: Model, method: Method, sample: Sample, tokens: int, schedule: str, clock: Clock
) -> list[int]:
    """The method by the model's engine, as `Model.stream` uses it."""
    request = Request(sample, method, Settings(max_new_tokens=tokens), schedule=schedule)
    ticket = model.submit(request, lambda update: clock.note())
    return list(ticket.result().ids)


@torch.no_grad()
def naive(model: Model, method: Method, sample: Sample, tokens: int, clock: Clock) -> list[int]:
    """The method as the papers' codes run it: every view on its own, at every step."""
    draws = generator(0)
    views = [model.encode_sample(view.apply(sample, draws)) for view in method.views(sample)]
    caches = [DynamicCache() for _ in views]
    step_inputs: list[Inputs] = [dict(view) for view in views]
    masks = [view["attention_mask"] for view in views]
    ids: list[int] = []
    for step in range(tokens):
        outputs = [
            model.hf_model(**inputs, **{CACHE: cache}, use_cache=True, logits_to_keep=1)
            for inputs, cache in zip(step_inputs, caches, strict=True)
        ]
        logits = torch.stack([output.logits[:, -1].float() for output in outputs])
        scores = method.combine(logits, step)
        plausible = method.plausible(logits[0])
        if plausible is not None:
            scores = scores.masked_fill(~plausible, float("-inf"))
        chosen = scores.argmax(dim=-1, keepdim=True)
        ids.append(int(chosen))
        clock.note()
        masks = [torch.cat([mask, torch.ones_like(chosen)], dim=-1) for mask in masks]
        step_inputs = [{"input_ids": chosen, "attention_mask": mask} for mask in masks]
    return ids
