"""Which samples are answered together, and how many at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, TypeVar

import psutil
import torch
from PIL import Image
from transformers import PreTrainedModel

from secondsight.decoding.cost import position_bytes
from secondsight.errors import UserError
from secondsight.sample import Sample, as_sources

_WINDOW: Final = 16
"""How many batches are sorted together: enough to even lengths out, few enough to show progress."""

_SHARE_OF_MEMORY: Final = 0.5
"""How much of the free memory keys and values may take; activations need the rest."""

_MOST: Final = 64

T = TypeVar("T", bound=Hashable)
A = TypeVar("A")


def order(samples: Sequence[Sample], batch_size: int) -> list[int]:
    """The order in which to answer: questions on one image together, similar lengths together.

    Args:
        samples: The samples.
        batch_size: How many are answered at a time.

    Returns:
        Their numbers; any window of a few batches holds the samples of that window.
    """
    window = _WINDOW * batch_size
    ordered: list[int] = []
    for first in range(0, len(samples), window):
        numbers = range(first, min(first + window, len(samples)))
        by_image: dict[object, list[int]] = {}
        for number in numbers:
            by_image.setdefault(_image(samples[number]), []).append(number)
        for group in by_image.values():
            group.sort(key=lambda number: len(samples[number].question))
        groups = sorted(by_image.values(), key=lambda group: len(samples[group[-1]].question))
        ordered += [number for group in groups for number in group]
    return ordered


def _image(sample: Sample) -> object:
    """What tells a sample's images from others before they are opened."""
    sources = as_sources(sample.image)
    return tuple(id(one) if isinstance(one, Image.Image) else one for one in sources)


def in_batches(
    items: Sequence[T], batch_size: int, answer: Callable[[Sequence[T], int], Iterator[tuple[T, A]]]
) -> Iterator[tuple[T, A]]:
    """Answer items so many at a time, and half as many whenever memory runs out.

    Args:
        items: What is to be answered.
        batch_size: How many at a time.
        answer: Answers items, so many at a time, and yields each with its answer once it has it.

    Raises:
        UserError: Not even one fits.
    """
    left = list(items)
    while left:
        answered = set()
        try:
            for item, answer_to_it in answer(left, batch_size):
                answered.add(item)
                yield item, answer_to_it
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if min(batch_size, len(left)) == 1:
                raise UserError(
                    "There is not enough memory to answer a single question: use a smaller model, "
                    "a smaller dtype, or fewer max_new_tokens."
                ) from error
        else:
            return
        batch_size = max(1, min(batch_size, len(left)) // 2)
        left = [item for item in left if item not in answered]
        gc.collect()  # outside the handler, which keeps the failed batch's tensors alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "out of memory" in text or "can't allocate memory" in text


def checked_batch_size(asked: int | str) -> int | None:
    """A batch size as given; None for ``auto``.

    Raises:
        UserError: Neither a positive whole number nor ``auto``.
    """
    if asked == "auto":
        return None
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise UserError(f"batch_size must be a positive whole number or 'auto', not {asked!r}.")
    return asked


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
    if model.device.type == "cuda":
        free = torch.cuda.mem_get_info(model.device)[0]
    else:
        free = psutil.virtual_memory().available
    return int(max(1, min(_MOST, _SHARE_OF_MEMORY * free // per_sample)))
