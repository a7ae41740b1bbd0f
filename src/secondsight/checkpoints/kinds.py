"""What kind of model a checkpoint is, and a plain refusal where it does not see and write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from transformers.models.auto import modeling_auto

from secondsight.checkpoints.hub import Checkpoint
from secondsight.errors import CheckpointError

_EMBEDDING_FILES: Final = ("modules.json", "config_sentence_transformers.json")

_KINDS: Final = (
    ("an audio model", ("SPEECH_SEQ_2_SEQ", "AUDIO_CLASSIFICATION", "CTC", "TEXT_TO_SPECTROGRAM")),
    ("a text-only model", ("CAUSAL_LM", "MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM")),
    ("an image model that does not write", ("IMAGE_CLASSIFICATION", "OBJECT_DETECTION")),
)
"""Kinds of models, and transformers' lists of them; some are in several (Whisper can write)."""


def refuse_other_kinds(
    checkpoint: Checkpoint, config: Mapping[str, Any], trust_remote_code: bool
) -> None:
    """Refuse what is no vision-language model that writes.

    Raises:
        CheckpointError: Says what it is.
    """
    kind = str(config.get("model_type"))
    if "AutoModelForImageTextToText" in (config.get("auto_map") or {}) and trust_remote_code:
        return
    if kind in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not _embeds(
        checkpoint, config
    ):
        return
    what = _kind(checkpoint, config)
    raise CheckpointError(
        f"{checkpoint.name!r} is {what} (model_type {kind!r}). secondsight needs one that takes "
        "images and writes text, such as LLaVA, Qwen-VL, InternVL or Gemma 3."
    )


def _embeds(checkpoint: Checkpoint, config: Mapping[str, Any]) -> bool:
    """Whether it makes embeddings, and so has no language modelling head."""
    names = [str(name) for name in config.get("architectures") or ()]
    headless = bool(names) and all(
        name.endswith(("Model", "ForRetrieval", "ForEmbedding")) for name in names
    )
    return headless or any((checkpoint.folder / name).is_file() for name in _EMBEDDING_FILES)


def _kind(checkpoint: Checkpoint, config: Mapping[str, Any]) -> str:
    kind = str(config.get("model_type"))
    if _embeds(checkpoint, config):
        return "an embedding model, which writes nothing"
    if "audio" in kind or ("audio_config" in config and "vision_config" not in config):
        return "an audio model"  # those that write are in the list of text models as well
    for what, lists in _KINDS:
        for name in lists:
            if kind in getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES", {}):
                return what
    if config.get("auto_map"):
        return (
            "a model that comes with its own code, which runs with all the rights of this process "
            "and only if you pass trust_remote_code=True"
        )
    return "of a kind that this version of transformers does not know"
