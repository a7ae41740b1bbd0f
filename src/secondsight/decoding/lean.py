"""A decoding step of models made like Llama, without the modules around its arithmetic.

Every product, norm and attention is the operation that transformers' modules do, on the same
values, of the same shape and in the same order: projections are not fused, since one product of
another shape may round differently. So the logits are the same to the bit, and `Lean` does not rely
on that: the first step of each number of rows is also read by the model, and compared.
"""

from __future__ import annotations

import weakref
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.functional import linear, silu
from torch.nn.modules import module as torch_module
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from secondsight.decoding.cache import SlotCache, takes_masks
from secondsight.decoding.transformers5 import is_inert

_SHELLS: Final = frozenset(
    {"LlavaForConditionalGeneration", "LlamaForCausalLM", "Qwen2ForCausalLM"}
)
_FAMILIES: Final = ("Llama", "Qwen2", "Mistral")
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks")


class Lean:
    """Reads the newest token of neighbouring rows.

    Args:
        model: A model that `lean_of` knows.

    Attributes:
        checked: For which numbers of rows, with a mask or without, the model was compared.
        differs: Whether it ever said anything else; nothing is read by this step from then on.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        decoder: Any = model
        while (inner := decoder.get_decoder()) is not decoder:
            decoder = inner
        head: Any = model.get_output_embeddings()
        self._rotary = decoder.rotary_emb
        self._embedding = decoder.embed_tokens
        self._norm, self._head = decoder.norm, head
        self._layers: list[Any] = list(decoder.layers)
        self._model = weakref.proxy(model)
        # Live dictionaries: a hook that is registered later is in them.
        self._hooks = [getattr(part, name) for part in model.modules() for name in _HOOKS]
        self._hooks += [getattr(torch_module, f"_global{name}") for name in _HOOKS]
        self.checked: set[tuple[int, bool]] = set()
        self.differs = False

    def may_run(self) -> bool:
        """Whether nothing else wants to be called in a pass, or has taken a module's place."""
        cast = torch.is_autocast_enabled(self._model.device.type)
        hooks = (hook for found in self._hooks if found for hook in found.values())
        return not (self.differs or self._model.training or cast) and all(map(is_inert, hooks))

    def logits(
        self,
        cache: SlotCache,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Write the window's slot and read it.

        Args:
            cache: The cache; its window is one slot of neighbouring rows.
            ids: int64 of shape (rows, 1).
            positions: int64 of shape (rows, 1).
            mask: What the rows attend to, bool of shape (rows, 1, 1, slots); None for all slots.

        Returns:
            float32 of shape (rows, vocabulary).
        """
        window = cache.window
        rows, slot, seen = window.rows, window.offset, slice(window.start, window.stop)
        states = nn.functional.embedding(ids, self._embedding._parameters["weight"])
        cos, sin = self._rotary.forward(states, positions)
        cos, sin = cos[:, :, None], sin[:, :, None]  # the heads are behind: no transpose
        half = cos.shape[-1] // 2
        signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        if mask is not None:
            mask = torch.zeros(mask.shape, dtype=states.dtype, device=mask.device).masked_fill_(
                ~mask, float("-inf")
            )
        count = len(ids)
        for layer, kept in zip(self._layers, cache.layers, strict=True):
            parts = layer._modules
            attention, mlp = parts["self_attn"], parts["mlp"]._modules
            own = attention._modules
            size = attention.head_dim
            normed = _normed(states, parts["input_layernorm"])
            query, key, value = (
                _linear(normed, own[name]).view(count, 1, -1, size)
                for name in ("q_proj", "k_proj", "v_proj")
            )
            query, key = _turned(query, cos, signed, half), _turned(key, cos, signed, half)
            kept.keys[rows, :, slot] = key[:, 0]
            kept.values[rows, :, slot] = value[:, 0]
            mixed, _ = sdpa_attention_forward(
                attention,
                query.transpose(1, 2),
                kept.keys[rows, :, seen],
                kept.values[rows, :, seen],
                mask,
                scaling=attention.scaling,
            )
            states = states + _linear(mixed.reshape(count, 1, -1), own["o_proj"])
            normed = _normed(states, parts["post_attention_layernorm"])
            gated = silu(_linear(normed, mlp["gate_proj"])).mul_(_linear(normed, mlp["up_proj"]))
            states = states + _linear(gated, mlp["down_proj"])
        found = _linear(_normed(states, self._norm), self._head)
        return found[:, -1].to(torch.float32, copy=True)


def _linear(states: torch.Tensor, module: nn.Module) -> torch.Tensor:
    parameters: Any = module._parameters
    return linear(states, parameters["weight"], parameters["bias"])


def _normed(states: torch.Tensor, module: Any) -> torch.Tensor:
    exact = states.to(torch.float32)
    scale = exact.pow(2).mean(-1, keepdim=True).add_(module.variance_epsilon).rsqrt_()
    return module._parameters["weight"] * (exact * scale).to(states.dtype)


def _turned(part: torch.Tensor, cos: torch.Tensor, signed: torch.Tensor, half: int) -> torch.Tensor:
    """Positions applied: each half times the sine of the other, whose sign is in the sine."""
    swapped = torch.cat((part[..., half:], part[..., :half]), dim=-1)
    return (part * cos).add_(swapped.mul_(signed))


_LEANS: WeakKeyDictionary[PreTrainedModel, tuple[tuple[int, ...], Lean | None]] = (
    WeakKeyDictionary()
)


def lean_of(model: PreTrainedModel) -> Lean | None:
    """A model's lean step; None where anything in the model is not as expected.

    It is found anew when modules were exchanged, as adapters and quantisation do.
    """
    modules = tuple(map(id, model.modules()))
    found = _LEANS.get(model)
    if found is None or found[0] != modules:
        found = _LEANS[model] = (modules, Lean(model) if _is_known(model) else None)
    return found[1]


def _is_known(model: PreTrainedModel) -> bool:
    if type(model).__name__ not in _SHELLS or not type(model).__module__.startswith(
        "transformers."
    ):
        return False
    decoder: Any = model
    while (inner := decoder.get_decoder()) is not decoder:
        decoder = inner
    config: Any = decoder.config
    name = type(decoder).__name__.removesuffix("Model")
    expected = {
        *(f"{name}{part}" for part in ("Model", "DecoderLayer", "Attention", "MLP", "RMSNorm")),
        f"{name}RotaryEmbedding",
        "ModuleList",
        "Linear",
        "Embedding",
        "SiLUActivation",
        "SiLU",
    }
    origins = ("transformers.models.", "transformers.activations", "torch.nn.")
    return (
        name in _FAMILIES
        and config.hidden_act == "silu"
        and config.rope_parameters["rope_type"] == "default"
        and takes_masks(config)
        and (name != "Mistral" or config.sliding_window is None)
        and type(model.get_output_embeddings()) is nn.Linear
        and not hasattr(model, "hf_device_map")
        and not hasattr(model, "peft_config")
        and len({part.device for part in model.parameters()}) == 1
        and all(
            type(part).__name__ in expected and type(part).__module__.startswith(origins)
            for part in decoder.modules()
        )
        and not any("forward" in part.__dict__ for part in model.modules())
    )
