"""Edits: what a method changes inside the model while a view is read.

These are declarations; `secondsight.decoding.changes` and what it stands on carry them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch

from secondsight.errors import MethodError
from secondsight.layout import PromptLayout


@dataclass(eq=False)
class EditedRows:
    """The rows of one forward pass that one edit is for, and where things are in them.

    The queries of a pass are the last of the keys; a row's keys to the left of its first position
    are padding, which no query sees.

    Attributes:
        layouts: Each row's layout.
        image: Which keys are image tokens of the prompt, bool of shape (rows, 1, 1, keys).
        positions: The position of each query in its row, int64 of shape (rows, 1, queries, 1);
            negative on padding.
        memory: What the edit keeps from one layer for a later one of the same pass.
    """

    layouts: tuple[PromptLayout, ...]
    image: torch.Tensor
    positions: torch.Tensor
    memory: dict[str, Any] = field(default_factory=dict)


class AttentionEdit:
    """Base of all attention edits: a frozen dataclass, equal to another that does the same.

    An edit is a function of the layer, one query, the keys up to it, and the row's layout: what
    it does to a query must not depend on the other rows, nor on which other queries are in the
    pass. Tensors that are given are not to be changed; returning them as they are leaves the row's
    attention as it is, to the bit.
    """

    whole_prompt: ClassVar[bool] = False
    """Whether a prompt's positions depend on later positions of the prompt, so that it can only be
    read in one pass and shares no beginning with others."""

    def layers(self, depth: int) -> Sequence[int]:
        """The layers, counted from 0, in which the edit does or looks at anything.

        Args:
            depth: How many layers there are.

        Raises:
            MethodError: The model has not the layers that were asked for.
        """
        return range(depth)

    def check(self, depth: int, layout: PromptLayout) -> None:
        """See that the edit can be made, before the model reads anything.

        Args:
            depth: How many layers the model has.
            layout: The row's layout.

        Raises:
            MethodError: The model or the image has not what was asked for.
        """
        self.layers(depth)
        if not layout.image:
            raise MethodError("This method needs image tokens, and the prompt holds none.")

    def queries(self, layout: PromptLayout) -> slice:
        """The positions whose attention the edit changes or looks at; all if not overridden.

        Args:
            layout: The row's layout; generated tokens follow from position `layout.length` on.

        Returns:
            A slice with a start and without a step.
        """
        return slice(0, None)

    def scores(self, layer: int, scores: torch.Tensor, at: EditedRows) -> torch.Tensor:
        """Change attention scores: scaled products of query and key, before mask and softmax.

        Args:
            layer: The layer, from 0.
            scores: float32 of shape (rows, heads, queries, keys). Keys that a query does not see
                have scores too; they are masked afterwards.
            at: Where things are.

        Returns:
            Scores of that shape.
        """
        return scores

    def weights(self, layer: int, weights: torch.Tensor, at: EditedRows) -> torch.Tensor:
        """Change attention weights: what the softmax made of masked scores.

        Args:
            layer: The layer, from 0.
            weights: float32 of the same shape, rows of one summing to one.
            at: Where things are.

        Returns:
            Weights of that shape; they are not normalised again.
        """
        return weights

    def facts(self, at: EditedRows) -> Sequence[Mapping[str, Any]]:
        """What was decided for the last query of each row, for evidence and for late views."""
        return [{} for _ in at.layouts]


@dataclass(frozen=True, eq=False)
class Overwritten:
    """Positions of a prompt whose embeddings are replaced.

    Attributes:
        positions: The positions, counted from the prompt's first.
        fill: Written into every feature; None for standard normal noise.
        seed: Of the noise.
        facts: What was decided, for the evidence.
    """

    positions: Sequence[int]
    fill: float | None = 0.0
    seed: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Steering:
    """Turns what every layer's feed-forward part gives towards what the image did to the prompt.

    Attributes:
        scale: How far.
        official: Whether the first feature of the first layer's vector is raised by 1, as a
            decomposition in VISTA's code does by accident.
    """

    scale: float
    official: bool = False


class Late(Protocol):
    """Makes a view of what happened when the base view's prompt was read."""

    @property
    def probe(self) -> AttentionEdit:
        """Looks on while the base's prompt is read, and changes nothing."""
        ...

    def overwritten(self, found: Mapping[str, Any], layout: PromptLayout) -> Overwritten:
        """Decide which embeddings of the view's own prompt are replaced.

        Args:
            found: The probe's facts about the base's prompt.
            layout: The layout of the view's prompt.
        """
        ...
