"""Models of a known shape with random weights, so that speed can be measured without a download."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from secondsight.checkpoints.llava import LlavaEncoder
from secondsight.checkpoints.loading import bundled_folder
from secondsight.decoding.transformers5 import remember_tokenizer
from secondsight.errors import UserError, nearest
from secondsight.inference.model import Model
from secondsight.presets import PRESETS


@dataclass(frozen=True)
class Shape:
    """Sizes of a LLaVA: the language model's, and the vision tower's."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vision_hidden: int
    vision_layers: int
    vision_heads: int
    vision_intermediate: int
    image: int = 336
    patch: int = 14
    vocabulary: int = 32_000


SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        "llava-1.5-7b": Shape(4096, 32, 32, 32, 11008, 1024, 24, 16, 4096),
        "1b": Shape(2048, 22, 32, 4, 5632, 1024, 24, 16, 4096),
        "tiny": Shape(64, 2, 4, 4, 128, 32, 3, 4, 64, image=56),
    }
)
"""LLaVA-1.5-7B; Llama of 1.1 billion parameters behind the same tower; and one for tests."""


def random_model(
    shape: str = "1b",
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: str | torch.device = "cpu",
    single: float = 0.5,
    beta: float = 0.1,
    seed: int = 0,
) -> Model:
    """A LLaVA with random weights whose confidence is set.

    Args:
        shape: One of `SHAPES`.
        dtype: The weights' type.
        device: Where they are.
        single: The share of steps, roughly, in which a single token is plausible: what lazy
            views live on. The logits are scaled for it; what was reached must be measured.
        beta: The plausibility that `single` is about.
        seed: Of the weights.

    Raises:
        UserError: No shape has that name, or `single` is not between 0 and 1.
    """
    if shape not in SHAPES:
        raise UserError(f"No shape is called {shape!r}.{nearest(shape, SHAPES)}")
    if not 0 < single < 1:
        raise UserError(f"The share of single tokens must be between 0 and 1, not {single}.")
    sizes = SHAPES[shape]
    config = _config(sizes)
    torch.manual_seed(seed)
    with torch.device(device):
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            hf_model = LlavaForConditionalGeneration(config).eval()
        finally:
            torch.set_default_dtype(default)
    _set_confidence(hf_model, sizes, single, beta)
    tokenizer = LlamaTokenizer.from_pretrained(bundled_folder())
    remember_tokenizer(hf_model, tokenizer)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": sizes.image},
        crop_size={"height": sizes.image, "width": sizes.image},
    )
    preset = PRESETS["llava-official"]
    encoder = LlavaEncoder(hf_model.config, tokenizer, processor, preset)
    return Model(hf_model, encoder, preset=preset, name=f"random {shape}")


def _config(sizes: Shape) -> LlavaConfig:
    text = LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        max_position_embeddings=4096,
        pad_token_id=0,
    )
    vision = CLIPVisionConfig(
        hidden_size=sizes.vision_hidden,
        intermediate_size=sizes.vision_intermediate,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads,
        image_size=sizes.image,
        patch_size=sizes.patch,
    )
    return LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=sizes.vocabulary - 1,
        image_seq_length=(sizes.image // sizes.patch) ** 2,
    )


def _set_confidence(
    model: LlavaForConditionalGeneration, sizes: Shape, single: float, beta: float
) -> None:
    """Scale the logits so that the best one leads by ``log(1 / beta)`` in that share of steps.

    The gap between the two largest of `n` normal numbers of deviation `s` is nearly exponential
    with mean ``s / sqrt(2 log n)``; `s` follows from the share of gaps above ``log(1 / beta)``.
    """
    spread = math.log(beta) / math.log(single) * math.sqrt(2 * math.log(sizes.vocabulary))
    natural = model.config.text_config.initializer_range * math.sqrt(sizes.hidden)
    model.model.language_model.norm.weight.data.fill_(spread / natural)
