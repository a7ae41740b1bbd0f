"""What forward passes leave for early exits: hidden states that hooks keep as they pass by."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from secondsight.decoding.altered import attention_of, kept_arguments
from secondsight.decoding.stack import Stack, stack_of
from secondsight.methods.exits import AlteredExit, EarlyExit, Exit, ImageExit


@dataclass(frozen=True)
class Needs:
    """What exits need of a pass; layers are counted as in `EarlyExit`.

    Attributes:
        last: States at the last position.
        images: States at the prompt's image positions.
        attention: Layers, from 0, whose attention is done again.
    """

    last: frozenset[int] = frozenset()
    images: frozenset[int] = frozenset()
    attention: frozenset[int] = frozenset()

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.last | other.last, self.images | other.images, self.attention | other.attention
        )

    def __bool__(self) -> bool:
        return bool(self.last or self.images or self.attention)


def needs_of(exits: Sequence[Exit], depth: int) -> Needs:
    """What some exits need of every pass over a row.

    Args:
        exits: The exits.
        depth: How many layers there are.
    """
    found = Needs()
    for one in exits:
        if isinstance(one, EarlyExit):
            found |= Needs(last=frozenset({one.layer}))
        elif isinstance(one, ImageExit):
            found |= Needs(images=frozenset(one.layers))
        elif isinstance(one, AlteredExit):
            entering = {depth - 1} if one.layer < depth - 1 else set()
            found |= Needs(frozenset({depth, *entering}), attention=frozenset({one.layer}))
    return found


@dataclass(eq=False)
class Passed:
    """What one pass left.

    Attributes:
        states: By layer, states at the last position, of shape (rows, hidden).
        images: By layer, for every row its states at image positions within the pass.
        attention: By layer, from 0, what its attention was given for the last position.
    """

    states: dict[int, torch.Tensor] = field(default_factory=dict)
    images: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    attention: dict[int, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a row is in what a pass left.

    Attributes:
        passed: What the pass left.
        row: The row in it.
    """

    passed: Passed
    row: int


@dataclass(frozen=True)
class Exits:
    """A method's exits in a model.

    Attributes:
        exits: The exits.
        needs: What they need of every pass.
    """

    exits: tuple[Exit, ...]
    needs: Needs


@dataclass(eq=False)
class RowExits:
    """The exits of one row, and what passes left of it.

    Attributes:
        exits: The exits.
        needs: What they need of a pass.
        image: The positions of the image in the row's prompt, int64 of shape (positions,).
        place: Where the row is in what the last pass over it left.
        shown: By layer, the states at its image positions so far, (positions, hidden).
        beside: By name, what other models have read of its text.
    """

    exits: tuple[Exit, ...]
    needs: Needs
    image: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    place: Place | None = None
    shown: dict[int, torch.Tensor] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)

    def copied(self) -> RowExits:
        """The same for a row that continues what this one holds."""
        beside = copy.deepcopy(self.beside)  # caches, which are written in place
        return replace(self, shown=dict(self.shown), beside=beside)

    def take(self, passed: Passed, number: int, *, last: bool) -> None:
        """Note what a pass left of the row.

        Args:
            passed: What it left.
            number: The row in it.
            last: Whether it ended with the row's newest token.
        """
        if last:
            self.place = Place(passed, number)
        for layer in self.needs.images & passed.images.keys():
            more, before = passed.images[layer][number], self.shown.get(layer)
            self.shown[layer] = more if before is None else torch.cat([before, more])


@dataclass(frozen=True)
class Span:
    """What a pass reads of a row.

    Attributes:
        first: The place in the pass of the row's first position; negative where that was read
            before.
        fresh: The row's positions that the pass reads for the first time.
    """

    first: int
    fresh: range


@contextmanager
def taking(
    model: PreTrainedModel, rows: Sequence[RowExits | None], spans: Sequence[Span], *, last: bool
) -> Iterator[Passed | None]:
    """Let the exits of rows take what they need of the forward pass that is made within.

    Args:
        model: The model.
        rows: The exits of every row of the pass; None where it has none.
        spans: What is read of every row.
        last: Whether the pass ends with the rows' newest tokens.

    Yields:
        What the pass leaves; None where nobody needs anything of it.
    """
    needs = Needs()
    for row in rows:
        needs |= row.needs if row is not None else Needs()
    images = _image_places(rows, spans) if needs.images else None
    if images is None and not (last and needs):
        yield None
        return
    stack = stack_of(model)
    if not stack.checked:
        needs |= Needs(last=frozenset({stack.depth}))
    with recording(stack, needs, images) as passed:
        yield passed
    for number, row in enumerate(rows):
        if row is not None:
            row.take(passed, number, last=last)


def _image_places(
    rows: Sequence[RowExits | None], spans: Sequence[Span]
) -> list[torch.Tensor] | None:
    """For every row the places of image positions that a pass reads; None where it reads none."""
    found = []
    for row, span in zip(rows, spans, strict=True):
        image = row.image if row is not None and row.needs.images else torch.zeros(0).long()
        inside = (image >= span.fresh.start) & (image < span.fresh.stop)
        found.append(image[inside] + span.first)
    return found if any(len(places) for places in found) else None


@contextmanager
def recording(
    stack: Stack, needs: Needs, images: Sequence[torch.Tensor] | None = None
) -> Iterator[Passed]:
    """Keep, during one forward pass, what exits need of it.

    Args:
        stack: The model's parts.
        needs: What is needed.
        images: For every row of the pass the places of its image positions in it, int64 of shape
            (positions,); None where there are none.

    Yields:
        What the pass leaves; empty until it is over.
    """
    passed = Passed()
    shown = needs.images if images is not None else frozenset()
    with ExitStack() as hooks:
        for layer in sorted(needs.last | shown):
            keep = _keeping(passed, layer, needs, images)
            hooks.callback(_hooked(stack, layer, keep).remove)
        for layer in needs.attention:
            attention = attention_of(stack.layers[layer], stack.name)
            kept = _keeping_arguments(passed, layer)
            hooks.callback(attention.register_forward_pre_hook(kept, with_kwargs=True).remove)
        yield passed


def _hooked(stack: Stack, layer: int, keep: Callable[[torch.Tensor], None]) -> Any:
    """Have the states after so many layers kept."""

    def before(module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        keep(inputs[0] if inputs else named["hidden_states"])

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        keep(output[0] if isinstance(output, tuple) else output)

    if layer < stack.depth:
        return stack.layers[layer].register_forward_pre_hook(before, with_kwargs=True)
    return (stack.norm or stack.layers[-1]).register_forward_hook(after)


def _keeping(
    passed: Passed, layer: int, needs: Needs, images: Sequence[torch.Tensor] | None
) -> Callable[[torch.Tensor], None]:
    def keep(states: torch.Tensor) -> None:
        if layer in needs.last:
            passed.states[layer] = states[:, -1].clone()
        if images is not None and layer in needs.images:
            passed.images[layer] = [
                row[places.to(row.device)] for row, places in zip(states, images, strict=True)
            ]

    return keep


def _keeping_arguments(passed: Passed, layer: int) -> Any:
    def before(module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        passed.attention[layer] = kept_arguments(inputs, named)

    return before
