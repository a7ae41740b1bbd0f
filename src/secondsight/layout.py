"""Where things are in a prompt: the one answer to the question which positions are the image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch


@dataclass(frozen=True)
class PromptLayout:
    """Which positions of a prompt are image tokens; all others are text.

    Positions are counted from the prompt's first token, padding left out.

    Attributes:
        length: How many positions the prompt has; the first generated token's position.
        image: The runs of neighbouring image tokens, in order; none without an image. Several
            images, tiles and the marks between them make several runs.

    Raises:
        ValueError: The runs are not in order, or not within the prompt.
    """

    length: int
    image: tuple[range, ...] = ()

    def __post_init__(self) -> None:
        stops = [0, *(run.stop for run in self.image)]
        sound = all(
            len(run) and run.step == 1 and run.start >= before
            for before, run in zip(stops, self.image, strict=False)
        )
        if not sound or stops[-1] > self.length:
            raise ValueError(f"{self.image} are no runs within a prompt of {self.length} positions")

    @property
    def end(self) -> int:
        """The last position of the prompt, whose logits give the first token."""
        return self.length - 1

    @property
    def text(self) -> tuple[range, ...]:
        """The runs of positions that are no image tokens."""
        bounds = [0, *(bound for run in self.image for bound in (run.start, run.stop)), self.length]
        runs = (range(start, stop) for start, stop in zip(bounds[::2], bounds[1::2], strict=True))
        return tuple(run for run in runs if run)

    @property
    def image_end(self) -> int:
        """The position behind the last image token; 0 without an image."""
        return self.image[-1].stop if self.image else 0

    @cached_property
    def image_positions(self) -> torch.Tensor:
        """The positions of all image tokens, int64 of shape (image tokens,), on the CPU."""
        return _positions(self.image)

    @cached_property
    def text_positions(self) -> torch.Tensor:
        """All other positions, int64 of shape (other tokens,), on the CPU."""
        return _positions(self.text)

    @property
    def image_tokens(self) -> int:
        """How many image tokens there are."""
        return sum(len(run) for run in self.image)


def image_slot(config: Any) -> int | None:
    """The id that stands for one image token in a model's prompts; None in a model that has none.

    Args:
        config: The model's configuration.
    """
    slot: int | None = getattr(config, "image_token_id", None)
    return slot


def prompt_layout(input_ids: torch.Tensor, image_token_id: int | None) -> PromptLayout:
    """Find a prompt's image tokens by their id.

    Args:
        input_ids: The prompt without padding, int64 of shape (tokens,) or (1, tokens).
        image_token_id: The id that stands for one image token; None in a model that has none.

    Returns:
        The layout. Only what is asked of the model is looked at, never what it wrote: a written
        image token is text.
    """
    ids = input_ids.reshape(-1)
    if image_token_id is None:
        return PromptLayout(len(ids))
    places = (ids == image_token_id).nonzero()[:, 0].tolist()
    return PromptLayout(len(ids), _runs(places))


def _runs(places: list[int]) -> tuple[range, ...]:
    """Ascending positions as runs of neighbours."""
    if not places:
        return ()
    breaks = [index for index, (a, b) in enumerate(pairwise(places), start=1) if b != a + 1]
    bounds = [0, *breaks, len(places)]
    return tuple(range(places[a], places[b - 1] + 1) for a, b in pairwise(bounds))


def _positions(runs: Iterable[range]) -> torch.Tensor:
    return torch.tensor([position for run in runs for position in run], dtype=torch.long)
