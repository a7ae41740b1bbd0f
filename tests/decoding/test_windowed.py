"""Mistral, whose window is a setting of its own and no kind of layer."""

from __future__ import annotations

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from secondsight.decoding.rows import Pool, Prompt


@pytest.mark.parametrize("window", [6, 40, None])
@torch.no_grad()
def test_logits_are_those_of_generate(window: int | None) -> None:
    """The window is shorter than the prompt, longer than all that is written, or none."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=61,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=window,
    )
    model = MistralForCausalLM(config).eval()
    ids = torch.randint(1, 61, (1, 9))
    want = model.generate(
        ids,
        max_new_tokens=12,
        min_new_tokens=12,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    pool = Pool(model, pad_id=0, kept=None)
    [row] = Prompt({"input_ids": ids}).rows()
    pool.admit([row], [])
    for step, logits in enumerate(want.logits):
        torch.testing.assert_close(pool.read([row])[0], logits, atol=1e-5, rtol=0)
        pool.append({row: int(want.sequences[0, 9 + step])})
