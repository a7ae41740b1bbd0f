"""One layer's attention done again for the last position, with other weights.

The pass itself is left as it was, whatever its attention backend: the layer's own module is called
once more with the keys and values that the pass wrote, and with weights that somebody altered.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import nn
from transformers import AttentionInterface

from secondsight.decoding.transformers5 import CACHE, attention_through
from secondsight.errors import UnsupportedError
from secondsight.methods.exits import Alter, Columns

NAME: Final = "secondsight_altered"
"""What the attention function is registered as; only calls from here ask for it."""


@dataclass(frozen=True)
class Attended:
    """What the last positions of some rows attend to in one layer.

    Attributes:
        keys: Of shape (rows, key heads, slots, head size), positions applied.
        values: Of that shape.
        own: Which slots are a row's own, bool of shape (rows, slots).
        image: Which of them hold the image.
    """

    keys: torch.Tensor
    values: torch.Tensor
    own: torch.Tensor
    image: torch.Tensor

    def of(self, rows: list[int]) -> Attended:
        """The same of some of the rows."""
        return Attended(self.keys[rows], self.values[rows], self.own[rows], self.image[rows])

    def columns(
        self, mask: torch.Tensor | None, window: int | None
    ) -> tuple[torch.Tensor, Columns]:
        """What a layer sees, and what it is.

        Args:
            mask: What the pass let the last position see, bool of shape (rows, slots), the last
                slot last; None where it said nothing.
            window: How many slots back the layer sees where there is no mask; None for all.

        Returns:
            What is seen, bool of shape (rows, slots); what each slot is.
        """
        first = self.own & (self.own.cumsum(dim=-1) == 1)
        seen, slots = self.own, self.own.shape[1]
        if mask is not None:
            padded = nn.functional.pad(mask, (max(0, slots - mask.shape[1]), 0))
            seen = seen & padded[:, -slots:]
        elif window is not None:
            recent = torch.arange(slots, device=seen.device) >= slots - window
            seen = seen & recent
        return seen, Columns(first & seen, self.image & seen, seen & ~self.image & ~first)


class _Written:
    """Stands in for the cache: the newest keys and values are in it already."""

    def __init__(self, attended: Attended) -> None:
        self._known = attended.keys, attended.values

    def update(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self._known


@dataclass
class _Altering:
    attended: Attended
    mask: torch.Tensor | None
    alter: Alter
    removed: torch.Tensor | None = None


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    altering: _Altering,
    scaling: float,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one query, weights in float32, as transformers' attention functions are called.

    Args:
        module: The attention module.
        query: Of shape (rows, heads, 1, head size).
        key: Of shape (rows, key heads, slots, head size).
        value: Of that shape.
        attention_mask: None: what was seen is in `altering`.
        altering: What is to be done with the weights.
        scaling: Factor of the products.
        softcap: Where scores are bent, in families that do so.
        sliding_window: How many slots back the layer sees.
        **kwargs: What else transformers passes.
    """
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = (part.repeat_interleave(shared, dim=1) for part in (key, value))
    scores = (query @ key.transpose(2, 3))[:, :, 0] * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    seen, columns = altering.attended.columns(altering.mask, sliding_window)
    scores = scores.masked_fill(~seen[:, None], torch.finfo(scores.dtype).min)
    weights, altering.removed = altering.alter(scores.softmax(dim=-1, dtype=torch.float32), columns)
    mixed = weights[:, :, None].to(value.dtype) @ value
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attend)


def attention_of(layer: nn.Module, model: str) -> nn.Module:
    """A decoder layer's attention.

    Raises:
        UnsupportedError: The layer has none where it is looked for.
    """
    attention = getattr(layer, "self_attn", None)
    if not isinstance(attention, nn.Module) or not hasattr(attention, "config"):
        raise UnsupportedError(
            f"{model}'s layers ({type(layer).__name__}) have no self_attn, which only alters."
        )
    return attention


def kept_arguments(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """What an attention module is given, for the last position alone and without the cache."""
    states: torch.Tensor = inputs[0] if inputs else named["hidden_states"]

    def last(values: torch.Tensor, dim: int) -> torch.Tensor:
        """The last position, without the prompt's memory behind it."""
        if values.shape[dim] == 1:
            return values
        return values.narrow(dim, values.shape[dim] - 1, 1).clone()

    kept: dict[str, Any] = {"hidden_states": last(states, 1)}
    for name, value in named.items():
        if name == "position_embeddings":
            kept[name] = tuple(last(part, -2) for part in value)
        elif name == "position_ids" and isinstance(value, torch.Tensor):
            kept[name] = last(value, -1)
        elif name == "attention_mask" and isinstance(value, torch.Tensor) and value.ndim == 4:
            seen = last(value, 2)[:, 0, 0]
            kept[name] = seen if seen.dtype == torch.bool else seen == 0
    return kept


def attend_again(
    attention: nn.Module,
    arguments: Mapping[str, Any],
    rows: list[int],
    attended: Attended,
    alter: Alter,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's attention for the last position of some rows, with altered weights.

    Args:
        attention: The module.
        arguments: What `kept_arguments` kept of its call.
        rows: The rows of that call.
        attended: What these rows attend to.
        alter: What becomes of the weights.

    Returns:
        The module's output, of shape (rows, hidden); which heads were removed, bool of shape
        (rows, heads).
    """
    device = attended.keys.device
    states = arguments["hidden_states"][rows].to(device)
    given: dict[str, Any] = {}
    if "position_embeddings" in arguments:
        given["position_embeddings"] = tuple(
            _rows(part, rows, -3).to(device) for part in arguments["position_embeddings"]
        )
    if "position_ids" in arguments:
        given["position_ids"] = _rows(arguments["position_ids"], rows, -2).to(device)
    mask = arguments.get("attention_mask")
    altering = _Altering(attended, None if mask is None else _rows(mask, rows, 0).to(device), alter)
    with attention_through(attention.config, NAME):
        output = attention(
            hidden_states=states,
            attention_mask=None,
            altering=altering,
            **given,
            **{CACHE: _Written(attended)},
        )
    assert altering.removed is not None
    return output[0][:, 0], altering.removed


def _rows(values: torch.Tensor, rows: list[int], dim: int) -> torch.Tensor:
    """Some rows of what has one row for each, or one for all."""
    if values.shape[dim] == 1:
        return values
    return values.index_select(dim, torch.tensor(rows, device=values.device))


@cache
def _required(forward: Callable[..., Any]) -> tuple[str, ...]:
    """What a kind of layer must be given besides hidden states; all of it is its attention's."""
    parameters = list(inspect.signature(forward).parameters.values())[2:]
    plain = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    return tuple(one.name for one in plain if one.default is one.empty)


class _EnteredAttention(Exception):  # noqa: N818 (no error: it ends a call halfway)
    def __init__(self, states: torch.Tensor) -> None:
        self.states = states


def through_layer(
    layer: nn.Module, attention: nn.Module, stream: torch.Tensor, entering: torch.Tensor
) -> torch.Tensor:
    """Let a stream take the place of a layer's attention.

    The stream passes the norm before the attention; what comes out counts as the attention's
    output, and `entering` as what goes around it.

    Args:
        layer: The layer.
        attention: Its attention.
        stream: Of shape (rows, hidden).
        entering: Of that shape.

    Returns:
        The layer's output, of that shape.
    """

    def stop(*args: Any, **kwargs: Any) -> Any:
        raise _EnteredAttention(args[0] if args else kwargs["hidden_states"])

    others = dict.fromkeys(_required(type(layer).forward))
    try:
        with _replaced(attention, stop):
            layer(stream[:, None], **others)
        raise AssertionError("a decoder layer that does not call its attention")
    except _EnteredAttention as entered:
        normed = entered.states
    with _replaced(attention, lambda *args, **kwargs: (normed, None)):
        output = layer(entering[:, None], **others)
    return (output[0] if isinstance(output, tuple) else output)[:, 0]


@contextmanager
def _replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before
