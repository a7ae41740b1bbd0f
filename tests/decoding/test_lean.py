"""The lean step says to the bit what the model's own modules say, or is not taken."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config
from transformers import Qwen2ForCausalLM as Qwen2

import secondsight
from secondsight.decoding.lean import lean_of
from secondsight.decoding.rows import Pool, Prompt

_SIZES = {
    "vocab_size": 61,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def _llama(**sizes: int) -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**_SIZES, "num_key_value_heads": 4, **sizes})).eval()


def _qwen2(**sizes: int) -> PreTrainedModel:
    torch.manual_seed(0)
    return Qwen2(Qwen2Config(**{**_SIZES, "num_key_value_heads": 2, **sizes})).eval()


@torch.no_grad()
def _written(model: PreTrainedModel, lengths: list[int], steps: int = 12) -> list[torch.Tensor]:
    """The logits of every step of some prompts, each written by its best token."""
    pool = Pool(model, pad_id=0, kept=None)
    order = torch.Generator().manual_seed(1)
    prompts = [torch.randint(1, 61, (1, length), generator=order) for length in lengths]
    rows = [row for ids in prompts for row in Prompt({"input_ids": ids}).rows()]
    pool.admit(rows, [])
    found = []
    for _ in range(steps):
        logits, _ = pool.read(rows)
        found.append(logits)
        pool.append(dict(zip(rows, logits.argmax(dim=-1).tolist(), strict=True)))
    return found


@pytest.mark.parametrize("lengths", [[9], [9, 9], [3, 9, 17]])
@pytest.mark.parametrize("make", [_llama, _qwen2, lambda: _llama(num_key_value_heads=2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_those_of_the_modules(make, lengths, dtype) -> None:
    """A hook that does nothing has the modules called: the independent half of the comparison."""
    model = make().to(dtype)
    ours = _written(model, lengths)
    lean = lean_of(model)
    assert lean is not None
    assert lean.checked
    assert not lean.differs
    calls = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    theirs = _written(model, lengths)
    hook.remove()
    assert len(calls) == 12  # as many as steps: none was read by the lean step
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_what_transformers_leaves_on_a_model_does_not_stop_it() -> None:
    """A vision tower whose hidden states are asked for leaves hooks behind, as any model does."""
    model = _llama()
    expected = _written(model, [9])
    model(torch.tensor([[1, 2]]), output_hidden_states=True)
    assert any(part._forward_hooks for part in model.modules())
    lean = lean_of(model)
    assert lean is not None
    assert lean.may_run()
    assert all(torch.equal(*pair) for pair in zip(_written(model, [9]), expected, strict=True))
    states = model(torch.tensor([[1, 2]]), output_hidden_states=True).hidden_states
    assert len(states) == 3


def test_a_model_with_a_vision_tower_takes_it(model: secondsight.Model) -> None:
    model.answer(Image.new("RGB", (64, 48), "red"), "What is it?", max_new_tokens=4)
    lean = lean_of(model.hf_model)
    assert lean is not None
    assert lean.checked
    assert lean.may_run()


def test_modules_are_not_called_once_they_were_compared() -> None:
    """Counted at the class, since a hook would be heeded."""
    model = _llama()
    _written(model, [5])
    calls = []
    forward = LlamaForCausalLM.forward
    try:
        LlamaForCausalLM.forward = lambda *a, **k: (calls.append(1), forward(*a, **k))[1]
        _written(model, [5])
    finally:
        LlamaForCausalLM.forward = forward
    assert len(calls) == 1  # the prompt


def test_a_hook_in_a_layer_is_heard() -> None:
    model = _llama()
    _written(model, [5])
    heard = []
    model.model.layers[1].mlp.register_forward_hook(lambda *_: heard.append(1))
    _written(model, [5])
    assert len(heard) == 12


class _Doubled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return 2 * self.inner(states)


def test_a_module_exchanged_later_is_called() -> None:
    model = _llama()
    before = _written(model, [5])
    layer = model.model.layers[0].self_attn
    layer.q_proj = _Doubled(layer.q_proj)
    assert lean_of(model) is None
    assert not torch.equal(_written(model, [5])[-1], before[-1])


def test_a_step_that_differs_is_given_up() -> None:
    model = _llama()
    want = _written(model, [5])
    lean = lean_of(model)
    assert lean is not None
    lean.checked.clear()
    lean._norm = nn.Module()  # as if a release had changed what the norm is
    lean._norm.weight = nn.Parameter(model.model.norm.weight * 2)
    lean._norm.variance_epsilon = 1e-5
    have = _written(model, [5])
    assert lean.differs
    assert all(torch.equal(a, b) for a, b in zip(have, want, strict=True))


def test_unknown_models_have_none() -> None:
    assert lean_of(_llama(hidden_act="gelu")) is None
    yarn = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    assert lean_of(_llama(rope_parameters=yarn)) is None
