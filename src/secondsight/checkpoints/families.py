"""Families of models: which adapter serves them, and which are refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from transformers import PreTrainedConfig, ProcessorMixin

from secondsight.checkpoints.adapters.blip import Blip2, Blip2Encoder, BlipEncoder, InstructBlip
from secondsight.checkpoints.adapters.paligemma import PaliGemmaEncoder
from secondsight.checkpoints.chat import ChatEncoder


@dataclass(frozen=True)
class Family:
    """How a family is loaded and asked.

    Attributes:
        encoder: Turns samples into inputs, given the configuration and the processor.
        model_class: The class that generates; None for transformers' own choice.
    """

    encoder: Callable[[PreTrainedConfig, ProcessorMixin], ChatEncoder] = ChatEncoder
    model_class: Any = None


FAMILIES: Final = MappingProxyType(
    {
        "paligemma": Family(PaliGemmaEncoder),
        "instructblip": Family(BlipEncoder, InstructBlip),
        "blip-2": Family(Blip2Encoder, Blip2),
    }
)
"""The families, by `model_type`, that the generic adapter alone cannot serve."""

_CROSS_ATTENTION: Final = (
    "its language model looks at the image through cross-attention layers, whose states are not "
    "in the key-value cache that the views share"
)

REFUSED: Final = MappingProxyType(
    {
        "mllama": _CROSS_ATTENTION,
        "idefics": _CROSS_ATTENTION,
        "evolla": "it takes proteins, not images",
        "instructblipvideo": "it takes videos, not images",
        "llava_next_video": "it takes videos, not images",
        "diffusion_gemma": "it does not write token after token",
        "pi0": "it moves robots",
        "gemma3n": "its layers share key-value states, which the views' cache does not",
        "git": "it has no chat template, and reads its image in every step",
    }
)
"""Families, by `model_type`, that cannot be decoded with views, and why."""


def family(model_type: str) -> Family:
    """The family of a `model_type`; the generic one where nothing special is needed."""
    return FAMILIES.get(model_type, Family())
