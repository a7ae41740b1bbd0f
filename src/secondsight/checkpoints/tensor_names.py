"""What tensors are called in the original LLaVA-1.5 layout, in CLIP, and in transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

TOWER: Final = "model.vision_tower."
"""How the vision tower's tensors begin, in transformers."""

_PROJECTOR: Final = "model.multi_modal_projector."

_IGNORED: Final = re.compile(
    r"rotary_emb\.inv_freq$|embeddings\.position_ids$|^text_model\.|^text_projection\.|"
    r"^visual_projection\.|^logit_scale$"
)
_OF_CLIP_TEXT: Final = re.compile(
    r"^(text_model\.|text_projection\.|visual_projection\.|logit_scale$)"
)

_TO_TRANSFORMERS: Final = (
    (re.compile(r"^(model\.)?mm_projector\.0\."), _PROJECTOR + "linear_1."),
    (re.compile(r"^(model\.)?mm_projector\.2\."), _PROJECTOR + "linear_2."),
    (re.compile(r"^model\.vision_tower\.vision_tower\.(vision_model\.)?"), TOWER),
    (re.compile(r"^vision_model\."), TOWER),
    # Transformers 5 writes a tower without a prefix.
    (re.compile(r"^(?=(embeddings|encoder|pre_layrnorm|post_layernorm)\.)"), TOWER),
    (re.compile(r"^model\.(?!multi_modal_projector\.|vision_tower\.)"), "model.language_model."),
)

_TO_ORIGINAL: Final = (
    (re.compile(r"^(model\.)?multi_modal_projector\.linear_1\."), "model.mm_projector.0."),
    (re.compile(r"^(model\.)?multi_modal_projector\.linear_2\."), "model.mm_projector.2."),
    (re.compile(r"^(model\.)?vision_tower\.(vision_model\.)?"), "vision_model."),
    (re.compile(r"^language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^(language_model\.model|model\.language_model)\."), "model."),
)


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of the original LLaVA code (``mm_*`` keys and no text_config)."""
    return "mm_vision_tower" in config or "mm_hidden_size" in config


def is_ignored(name: str) -> bool:
    """Whether a tensor is recomputed by every reader, or belongs to CLIP's text half."""
    return _IGNORED.search(name) is not None


def of_clip_text(name: str) -> bool:
    """Whether a tensor of CLIP's repository is of its text half."""
    return _OF_CLIP_TEXT.search(name) is not None


def in_tower(name: str) -> bool:
    """Whether a tensor of an original checkpoint is of a vision tower that it stores itself."""
    return name.startswith("model.vision_tower.")


def to_transformers(name: str) -> str:
    """A tensor's name in transformers' LLaVA, from its name in the original checkpoint or CLIP."""
    return _replaced(name, _TO_TRANSFORMERS)


def to_original(name: str) -> str:
    """A tensor's name in the original checkpoint or CLIP, from any that transformers gave it."""
    return _replaced(name, _TO_ORIGINAL)


def _replaced(name: str, patterns: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in patterns:
        name, count = pattern.subn(replacement, name)
        if count:
            return name
    return name
