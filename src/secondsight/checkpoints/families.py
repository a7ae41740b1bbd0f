"""Families of models: which adapter serves them, and which are refused, with the reason.

A family is an encoder: a subclass of `ChatEncoder` in a file of its own (in `adapters`, in a
user's plug-in, or behind an entry point ``secondsight.families``), registered by the `model_type`
of its checkpoints' config.json. Families that nothing registers are served by `ChatEncoder`
itself, through their own processor and chat template.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final, TypeVar

from secondsight.checkpoints.chat import ChatEncoder
from secondsight.errors import UnsupportedError
from secondsight.registry import Registry

E = TypeVar("E", bound=type[ChatEncoder])


def _accept(name: str, encoder: object) -> type[ChatEncoder]:
    if isinstance(encoder, type) and issubclass(encoder, ChatEncoder):
        return encoder
    raise UnsupportedError(
        f"The family {name!r} must be a subclass of secondsight.checkpoints.chat.ChatEncoder, not "
        f"{encoder!r}."
    )


FAMILIES: Final = Registry(
    "family",
    package="secondsight.checkpoints.adapters",
    group="secondsight.families",
    accept=_accept,
    error=UnsupportedError,
)
"""The families, by `model_type`, that the generic encoder alone cannot serve."""


def register(model_type: str) -> Callable[[E], E]:
    """Class decorator: make an encoder serve a family.

    Args:
        model_type: What config.json says in checkpoints of the family.

    Raises:
        UnsupportedError: The family has another encoder, or the class is no `ChatEncoder`.
    """
    return FAMILIES.register(model_type)


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
