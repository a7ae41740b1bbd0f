"""Which samples are answered together, and how many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Final

from PIL import Image
from transformers import PreTrainedModel

from secondsight.decoding.cost import position_bytes
from secondsight.devices import free_bytes
from secondsight.errors import UserError, shown
from secondsight.sample import Sample, as_sources

WINDOW: Final = 16
"""How many batches are sorted together: enough to even lengths out, few enough to show progress."""

_SHARE_OF_MEMORY: Final = 0.5
"""How much of the free memory keys and values may take; activations need the rest."""

_MOST: Final = 64


def order(samples: Sequence[Sample], batch_size: int) -> list[int]:
    """The order in which to answer: questions on one image together, similar lengths together.

    Args:
        samples: The samples.
        batch_size: How many are answered at a time.

    Returns:
        Their numbers; any window of a few batches holds the samples of that window.
    """
    window = WINDOW * batch_size
    ordered: list[int] = []
    for first in range(0, len(samples), window):
        numbers = range(first, min(first + window, len(samples)))
        by_image: dict[object, list[int]] = {}
        for number in numbers:
            by_image.setdefault(_image(samples[number]), []).append(number)
        for group in by_image.values():
            group.sort(key=lambda number: len(str(samples[number].question)))
        groups = sorted(by_image.values(), key=lambda group: len(str(samples[group[-1]].question)))
        ordered += [number for group in groups for number in group]
    return ordered


def _image(sample: Sample) -> object:
    """What tells a sample's images from others before they are opened."""
    sources = as_sources(sample.image)
    return tuple(id(one) if isinstance(one, Image.Image) else one for one in sources)


def checked_batch_size(asked: int | str) -> int | None:
    """A batch size as given; None for ``auto``.

    Raises:
        UserError: Neither a positive whole number nor ``auto``.
    """
    if isinstance(asked, str) and asked == "auto":
        return None
    size: object = asked  # a number of NumPy's is one as well
    if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
        raise UserError(f"batch_size must be a positive whole number or 'auto', not {shown(size)}.")
    return int(size)


def fitting_batch_size(model: PreTrainedModel, positions: int, views: int) -> int:
    """How many samples fit into the memory that is free now.

    Args:
        model: The model.
        positions: Positions per row, prompt and answer.
        views: Rows per sample.
    """
    config = model.config.get_text_config(decoder=True)
    per_token = position_bytes(config, model.dtype)
    logits = 3 * 4 * config.vocab_size
    per_sample = views * (per_token * positions + logits)
    free = free_bytes(model.device)
    return int(max(1, min(_MOST, _SHARE_OF_MEMORY * free // per_sample)))
