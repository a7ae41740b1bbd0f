"""Early exits: what earlier layers would have said, read off after a pass over the base view.

The pass computes nothing for them, it only leaves hidden states behind (`recording`). Norms, heads
and altered attention come afterwards, for the rows whose outcome they can still change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from secondsight.decoding.altered import Attended, attend_again, attention_of, through_layer
from secondsight.decoding.beside import language_model, read_beside
from secondsight.decoding.recording import Exits, Passed, Place, RowExits, needs_of
from secondsight.decoding.stack import Stack, device_of, stack_of
from secondsight.errors import ImageError
from secondsight.layout import image_slot
from secondsight.methods.base import Method
from secondsight.methods.exits import (
    Altered,
    AlteredExit,
    Early,
    EarlyExit,
    ImageExit,
    LanguageExit,
)


def exits_of(model: PreTrainedModel, method: Method, input_ids: torch.Tensor) -> Exits | None:
    """A method's exits in a model, for a prompt; None for a method without.

    Args:
        model: The model.
        method: The method.
        input_ids: The ids of the base's prompt.

    Raises:
        MethodError: The model has not the layers that were asked for.
        ImageError: An exit looks at the image, and the prompt has none.
        CheckpointError: Another language model cannot be loaded.
        UnsupportedError: The model's decoder cannot be read at earlier layers, or another
            language model has another vocabulary.
    """
    if type(method).early_exits is Method.early_exits:
        return None
    stack = stack_of(model)
    exits = method.early_exits(stack.depth, tied=stack.tied)
    for one in exits:
        if isinstance(one, LanguageExit):
            language_model(model, one.model)
    if any(isinstance(one, ImageExit | AlteredExit) for one in exits):
        slot = image_slot(model.config)
        if slot is None or not bool((input_ids == slot).any()):
            raise ImageError(f"{method.name} looks at the image, and none was given.")
    return Exits(exits, needs_of(exits, stack.depth)) if exits else None


class Cached(Protocol):
    """Some rows as the pool holds them."""

    def attended(self, layer: int) -> Attended:
        """What the rows' newest tokens attend to in a layer."""
        ...

    def texts(self) -> list[torch.Tensor]:
        """For every row the ids that it holds, image positions left out, int64 of shape (ids,)."""
        ...


def read_exits(model: PreTrainedModel, rows: Sequence[RowExits], cached: Cached) -> Early:
    """What their exits say of some rows of one method, after a pass over each of them.

    Args:
        model: The model.
        rows: The rows.
        cached: The same rows in the pool.

    Returns:
        What each exit says.
    """
    stack, exits = stack_of(model), rows[0].exits
    places = [row.place for row in rows if row.place is not None]
    plain = [one for one in exits if isinstance(one, EarlyExit)]
    logits = _plain(stack, plain, places) if plain else None
    if logits is not None and len(plain) == len(exits):
        return Early(exits, logits)
    said: list[Any] = []
    for one in exits:
        if isinstance(one, EarlyExit):
            assert logits is not None
            said.append(logits[plain.index(one)])
        elif isinstance(one, ImageExit):
            said.append([ShownLogits(stack, row, one) for row in rows])
        elif isinstance(one, AlteredExit):
            said.append(_altered(stack, one, places, cached.attended(one.layer)))
        else:
            said.append(read_beside(model, one.model, rows, cached.texts()))
    return Early(exits, said)


def _plain(stack: Stack, exits: Sequence[EarlyExit], places: Sequence[Place]) -> torch.Tensor:
    """One head for all exits, so that its weights are read once."""
    device = device_of(stack.head)
    states = []
    for one in exits:
        found = _gathered(places, one.layer).to(device)
        normed = one.norm and one.layer < stack.depth
        states.append(stack.normed(found).to(device) if normed else found)
    return stack.logits(torch.stack(states))


def _gathered(places: Sequence[Place], layer: int) -> torch.Tensor:
    """The states of some rows after a layer, of shape (rows, hidden)."""
    passed = places[0].passed
    if all(place.passed is passed for place in places):
        rows, states = [place.row for place in places], passed.states[layer]
        return states if rows == list(range(len(states))) else states[rows]
    return torch.stack([place.passed.states[layer][place.row] for place in places])


class ShownLogits:
    """What the image positions of one row's prompt say; see `ImageLogits`.

    Args:
        stack: The model's parts.
        row: The row.
        one: The exit.

    Attributes:
        positions: How many image positions there are.
    """

    def __init__(self, stack: Stack, row: RowExits, one: ImageExit) -> None:
        self._stack = stack
        self._states = torch.cat([row.shown[layer] for layer in one.layers])
        self.positions = len(row.image)

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """See `ImageLogits.__call__`."""
        return self._stack.logits(self._states, ids)


def _altered(
    stack: Stack, one: AlteredExit, places: Sequence[Place], attended: Attended
) -> Altered:
    """The altered stream through the last layer and the head."""
    stream, removed = _attended_again(stack, one, places, attended)
    last = stack.layers[-1]
    if one.layer < stack.depth - 1:
        device = device_of(last)
        entering = one.entering * _gathered(places, stack.depth - 1).to(device)
        attention = attention_of(last, stack.name)
        stream = through_layer(last, attention, stream.to(device), entering)
    device = device_of(stack.head)
    final = one.final * _gathered(places, stack.depth).to(device)
    return Altered(stack.logits(stack.normed(stream).to(device) + final), removed)


def _attended_again(
    stack: Stack, one: AlteredExit, places: Sequence[Place], attended: Attended
) -> tuple[torch.Tensor, torch.Tensor]:
    """The altered output of a layer's attention, and the removed heads, for rows of any passes."""
    attention = attention_of(stack.layers[one.layer], stack.name)
    by_pass: dict[Passed, list[int]] = {}
    for number, place in enumerate(places):
        by_pass.setdefault(place.passed, []).append(number)
    parts = [
        attend_again(
            attention,
            passed.attention[one.layer],
            [places[number].row for number in numbers],
            attended if len(by_pass) == 1 else attended.of(numbers),
            one.alter,
        )
        for passed, numbers in by_pass.items()
    ]
    order = [number for numbers in by_pass.values() for number in numbers]
    back = sorted(range(len(order)), key=order.__getitem__)
    streams, removed = (torch.cat([part[which] for part in parts])[back] for which in (0, 1))
    return streams, removed
