"""The ways to decode that are compared: transformers' own, the papers' two passes, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from secondsight.decoding import decode
from secondsight.decoding.transformers5 import CACHE
from secondsight.inference.model import Model
from secondsight.methods import Method

Inputs = dict[str, Any]


def regular(model: Model, views: Sequence[Inputs], tokens: int, clock: Any) -> torch.Tensor:
    """Regular decoding by transformers' own ``generate``; the first view alone."""
    return model.hf_model.generate(
        **views[0], max_new_tokens=tokens, do_sample=False, stopping_criteria=[clock]
    )


def ours(
    model: Model, views: Sequence[Inputs], tokens: int, clock: Any, method: Method, schedule: str
) -> torch.Tensor:
    """The method by `secondsight.decode`."""
    return model.hf_model.generate(
        **views[0],
        custom_generate=decode,
        method=method,
        views=list(views[1:]),
        schedule=schedule,
        max_new_tokens=tokens,
        do_sample=False,
        stopping_criteria=[clock],
    )


@torch.no_grad()
def naive(
    model: Model, views: Sequence[Inputs], tokens: int, clock: Any, method: Method
) -> torch.Tensor:
    """The method as the papers' codes run it: every view on its own, at every step."""
    ids = views[0]["input_ids"]
    caches = [DynamicCache() for _ in views]
    step_inputs: list[Inputs] = [dict(view) for view in views]
    masks = [view["attention_mask"] for view in views]
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
        ids = torch.cat([ids, chosen], dim=-1)
        clock(ids, None)
        masks = [torch.cat([mask, torch.ones_like(chosen)], dim=-1) for mask in masks]
        step_inputs = [{"input_ids": chosen, "attention_mask": mask} for mask in masks]
    return ids
