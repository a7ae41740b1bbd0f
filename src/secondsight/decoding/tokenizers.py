"""Which tokenizer belongs to a model, for what `generate` does not hand on."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from secondsight.errors import UnsupportedError

_TOKENIZERS: WeakKeyDictionary[PreTrainedModel, PreTrainedTokenizerBase] = WeakKeyDictionary()


def remember_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Note a model's tokenizer for as long as the model lives."""
    _TOKENIZERS[model] = tokenizer


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
