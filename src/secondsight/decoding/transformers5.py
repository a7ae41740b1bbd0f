"""Everything of transformers that the engine needs and that transformers does not promise.

Each name here has a test of its own in ``tests/decoding/test_transformers5.py``, so that a release
that renames one is met by a test with that name and not by wrong tokens.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
import transformers
from packaging.version import Version
from torch import nn
from transformers import (
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.generation import GenerationMixin
from transformers.integrations import sdpa_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import ModelOutput

from secondsight.errors import CheckpointError, UnsupportedError, shown

CACHE: Final = (
    "cache"
    if "cache" in inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
    else "past_key_values"
)
"""What transformers calls the cache, in models' arguments and outputs: `cache` since 5.24."""

HIDDEN_ARGUMENTS: Final = ("streamer", "assistant_model", "negative_prompt_ids", "synced_gpus")
"""Arguments of `generate` that it keeps from a callable given as `custom_generate`."""


def is_inert(hook: Callable[..., Any]) -> bool:
    """Whether a forward hook is one of transformers' own, which only act while it captures outputs.

    It leaves them on a model for good once hidden states or attention were asked for.
    """
    return getattr(hook, "__module__", None) == "transformers.utils.output_capturing"


def hidden_arguments() -> dict[str, Any]:
    """Read, from the calling `generate`, the arguments that it keeps from callables.

    transformers 5 hands a callable neither the streamer nor an assistant model, so both would be
    ignored in silence.

    Returns:
        `HIDDEN_ARGUMENTS` as they were given; empty when no `generate` is on the call stack.
    """
    frame = inspect.currentframe()
    while frame is not None:
        in_transformers = frame.f_globals.get("__name__") == "transformers.generation.utils"
        if in_transformers and frame.f_code.co_name == "generate":
            return {name: frame.f_locals.get(name) for name in HIDDEN_ARGUMENTS}
        frame = frame.f_back
    return {}


def padding_token(config: GenerationConfig) -> int:
    """The id that `generate` writes behind the end of a sequence, once it prepared its config."""
    return int(config._pad_token_tensor)


def prompt_positions(model: PreTrainedModel, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Position ids of prompts, as `generate` prepares them.

    Args:
        model: The model.
        inputs: A batch of prompts, ``input_ids`` of shape (rows, tokens).

    Returns:
        int64 of shape (..., rows, tokens); families with positions in several dimensions have
        them first.
    """
    positions = inputs.get("position_ids")
    ids: torch.Tensor = inputs["input_ids"]
    if positions is None:
        positions = model._prepare_position_ids_for_generation(ids, dict(inputs))
    return positions.expand(*positions.shape[:-2], ids.shape[0], -1)


def next_token_types(model: PreTrainedModel, prompt: torch.Tensor) -> torch.Tensor:
    """The token type of a generated token; not every family repeats the prompt's last one."""
    kwargs = {"token_type_ids": prompt}
    kwargs = model._update_model_kwargs_for_generation(ModelOutput(), kwargs)
    return kwargs["token_type_ids"][:, -1:]


def encode_images(model: PreTrainedModel, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Replace pixels by their features, where transformers lets models take features.

    `generate` does so for the prompt that it is given (``mm_encoder_outputs``), and all rows of
    one pass must come in the same form.

    Raises:
        CheckpointError: The model cannot make anything of what its processor made.
    """
    supports = getattr(model, "_supports_mm_encoder_outputs", None)
    if supports is None or not supports() or inputs.get("mm_encoder_outputs"):
        return dict(inputs)
    try:
        return dict(model._prepare_multimodal_encoder_kwargs_for_generation(dict(inputs)))
    except (IndexError, OverflowError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The model cannot encode the image: {shown(str(error), 300)}. The settings of its "
            "processor and its weights do not belong together."
        ) from error


def attention_implementation(config: PreTrainedConfig) -> str | None:
    """The name of the attention function that a model uses: ``sdpa``, ``eager``, ..."""
    return config._attn_implementation


@contextmanager
def attention_through(config: PreTrainedConfig, name: str) -> Iterator[None]:
    """Let the modules with a configuration attend by another registered function for a while."""
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def attention_function(module: nn.Module, implementation: str) -> Callable[..., Any]:
    """The function behind the name of an attention implementation, for an attention module.

    ``eager`` is the one that is in the module's own file.

    Raises:
        UnsupportedError: That file has none.
    """
    if implementation != "eager":
        return ALL_ATTENTION_FUNCTIONS[implementation]
    file = sys.modules[type(module).__module__]
    eager = getattr(file, "eager_attention_forward", None)
    if eager is None:
        raise UnsupportedError(
            f"{type(module).__name__} attends in a way of its own, so its attention cannot be "
            "edited (pai, sid, avisc)."
        )
    return eager


def final_softcap(model: PreTrainedModel) -> float | None:
    """What bounds a model's logits at its end; None where nothing does.

    PaliGemma 2 has Gemma 2's bound in its configuration, and leaves it out before 5.23.
    """
    text = model.config.get_text_config(decoder=True)
    bound: float | None = getattr(text, "final_logit_softcapping", None)
    old = Version(transformers.__version__) < Version("5.23")
    return None if old and model.config.model_type == "paligemma" else bound


def masks_pay(config: PreTrainedConfig, device: torch.device) -> bool:
    """Whether one token is read faster with a mask, even one that hides nothing.

    Where several heads share keys, transformers lays them side by side for a masked token, and
    without a mask leaves that to torch, whose kernel for the CPU takes twenty times as long (5.24
    and 2.14, bfloat16, 32 heads of 64 on 4, 690 positions: 0.08 and 1.76 ms a layer).
    """
    shared = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return (
        device.type == "cpu"
        and shared < config.num_attention_heads
        and hasattr(sdpa_attention, "pack_gqa")
    )


_TOKENIZERS: WeakKeyDictionary[PreTrainedModel, PreTrainedTokenizerBase] = WeakKeyDictionary()


def remember_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Note a model's tokenizer, which `generate` keeps from callables, while the model lives."""
    _TOKENIZERS[model] = tokenizer


def known_tokenizer(model: PreTrainedModel) -> PreTrainedTokenizerBase | None:
    """The tokenizer that was noted for a model; None where none was."""
    return _TOKENIZERS.get(model)


def tokenizer_of(model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """The tokenizer that was noted for a model.

    Raises:
        UnsupportedError: None was noted, because the model was not loaded by `secondsight.load`.
    """
    try:
        return _TOKENIZERS[model]
    except KeyError:
        raise UnsupportedError(
            "stop_strings need a tokenizer, which transformers keeps from custom_generate. Pass "
            "stopping_criteria=[StopStringCriteria(tokenizer, stop_strings)] instead."
        ) from None
