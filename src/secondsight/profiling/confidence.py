"""How sure a model of random weights is: measured, and set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers import LlavaForConditionalGeneration

from secondsight.errors import UserError
from secondsight.inference.model import Model
from secondsight.sample import Sample


def top_margins(model: Model, samples: Sequence[Sample], tokens: int) -> torch.Tensor:
    """The margin of the best logit over the second at every step of regular greedy answers.

    Args:
        model: The model.
        samples: What it is asked.
        tokens: How many tokens it answers.

    Returns:
        float32 of shape (samples * tokens,).
    """
    found = []
    for sample in samples:
        output = model.hf_model.generate(
            **model.encode_sample(sample),
            max_new_tokens=tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        best = torch.cat(output.logits).float().topk(2, dim=-1).values
        found.append(best[:, 0] - best[:, 1])
    return torch.cat(found)


def set_confidence(model: Model, margins: torch.Tensor, single: float, beta: float = 0.1) -> None:
    """Scale the logits so that a single token is plausible at this share of the steps measured.

    Regular greedy answers stay what they are, since the best logit stays the best.

    Args:
        model: A model of random weights.
        margins: What `top_margins` measured.
        single: The share, as nearly as so many steps allow.
        beta: The plausibility that it is about.

    Raises:
        UserError: The model is none whose logits can be scaled, or the share is none.
    """
    if not 0 <= single <= 1:
        raise UserError(f"The share of single tokens must be between 0 and 1, not {single}.")
    if not isinstance(model.hf_model, LlavaForConditionalGeneration):
        raise UserError("Only the confidence of random weights can be set.")
    ordered = torch.cat([margins.sort(descending=True).values, margins.new_zeros(1)])
    count = round(single * len(margins))
    between = ordered[max(count - 1, 0) : count + 1].mean().item()
    model.hf_model.model.language_model.norm.weight.data.mul_(-math.log(beta) / between)
