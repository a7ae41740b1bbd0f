"""Another language model that reads along: the text of prompt and answer, without the image."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from secondsight.decoding.recording import RowExits
from secondsight.decoding.transformers5 import CACHE, known_tokenizer
from secondsight.errors import CheckpointError, UnsupportedError

_LOADING: Final = threading.Lock()


@dataclass
class _Read:
    """What a model has read of one row.

    Attributes:
        cache: Its keys and values.
        ids: How many ids.
        logits: What it said after them.
    """

    cache: DynamicCache
    ids: int = 0
    logits: torch.Tensor | None = None


def language_model(model: PreTrainedModel, name: str) -> Any:
    """A language model, loaded once, where a model is and in its dtype.

    Args:
        model: The model beside which it reads.
        name: Its name on the hub, or its folder.

    Raises:
        CheckpointError: It cannot be loaded.
        UnsupportedError: Its vocabulary is another one.
    """
    with _LOADING:
        found = _loaded(name, str(model.dtype), str(model.device))
        _check_vocabulary(model, name)
    return found


@cache
def _loaded(name: str, dtype: str, device: str) -> Any:
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            name, dtype=getattr(torch, dtype.removeprefix("torch."))
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The language model {name!r} cannot be loaded: {str(error).splitlines()[0]} Fetch it "
            "with 'hf download', or name a folder."
        ) from error
    return loaded.to(device).eval()


@cache
def _tokenizer(name: str) -> PreTrainedTokenizerBase | None:
    """A language model's tokenizer; None where its folder has none."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError):
        return None
    return tokenizer


def _check_vocabulary(model: PreTrainedModel, name: str) -> None:
    """See that ids mean the same to both, where both have a tokenizer to say so."""
    own, other = known_tokenizer(model), _tokenizer(name)
    if own is None or other is None:
        return
    ours, theirs = own.get_vocab(), other.get_vocab()
    same = sum(ours.get(piece) == number for piece, number in theirs.items())
    if same < 0.99 * min(len(ours), len(theirs)):
        raise UnsupportedError(
            f"The language model {name!r} has another vocabulary than the model, and its words "
            "would be other words. Name the one that the model was built on."
        )


@torch.no_grad()
def read_beside(
    model: PreTrainedModel, name: str, rows: Sequence[RowExits], texts: Sequence[torch.Tensor]
) -> torch.Tensor:
    """What another language model says comes next.

    Each row has a cache of its own there, so a row that is read late catches up in one pass.

    Args:
        model: The model beside which it reads.
        name: The language model.
        rows: The rows.
        texts: Their ids.

    Returns:
        float32 of shape (rows, vocabulary), minus infinity for ids that it has not.
    """
    other = _loaded(name, str(model.dtype), str(model.device))
    size = int(model.config.get_text_config(decoder=True).vocab_size)
    said = torch.full((len(rows), size), float("-inf"), device=model.device)
    for row, ids, logits in zip(rows, texts, said, strict=True):
        read = row.beside.setdefault(name, _Read(DynamicCache(config=other.config)))
        if read.logits is None or read.ids < len(ids):
            new = ids[None, read.ids :]
            output = other(input_ids=new, use_cache=True, logits_to_keep=1, **{CACHE: read.cache})
            read.ids, read.logits = len(ids), output.logits[0, -1, :size].float()
        logits[: len(read.logits)] = read.logits
    return said
