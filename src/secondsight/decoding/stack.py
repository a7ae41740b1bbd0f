"""A model's decoder in the parts that early exits go through."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel

from secondsight.decoding.transformers5 import final_softcap
from secondsight.errors import UnsupportedError

_FINAL_NORMS: Final = ("norm", "final_layer_norm")
_CLOSE: Final = 0.02
"""How far the head on the final state may be from the model's logits, as a share of their
spread; half precision rounds."""


class Stack:
    """The layers, the final norm and the head of a model, found by transformers' own getters.

    Args:
        model: The model.

    Attributes:
        name: The model's class.
        layers: The decoder's layers.
        depth: How many there are.
        head: The head.
        norm: The final norm; None in the few models that have none.
        tied: Whether the head's weights are the embeddings.
        checked: Whether `check` has seen that these parts are all that there is.

    Raises:
        UnsupportedError: The model's decoder is made otherwise.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        decoder: Any = model
        while (inner := decoder.get_decoder()) is not decoder:
            decoder = inner
        layers, head = getattr(decoder, "layers", None), model.get_output_embeddings()
        self.name = type(model).__name__
        if not isinstance(layers, nn.ModuleList) or head is None:
            raise UnsupportedError(
                f"{self.name} has no list of decoder layers and a head, which methods that read "
                "earlier layers need (dola, deco, revisit, only)."
            )
        self.layers: list[nn.Module] = list(layers)
        self.depth = len(self.layers)
        self.head: nn.Module = head
        self.tied = getattr(head, "weight", None) is model.get_input_embeddings().weight
        norms = (getattr(decoder, name, None) for name in _FINAL_NORMS)
        self.norm: nn.Module | None = next((norm for norm in norms if norm is not None), None)
        self.checked = False
        self._project: nn.Module | None = getattr(decoder, "project_out", None)
        self._softcap = final_softcap(model)

    def normed(self, states: torch.Tensor) -> torch.Tensor:
        """States after the final norm."""
        return states if self.norm is None else self.norm(states.to(device_of(self.norm)))

    def logits(self, states: torch.Tensor, ids: torch.Tensor | None = None) -> torch.Tensor:
        """The head on states.

        Args:
            states: Of shape (..., hidden).
            ids: The tokens of interest, int64 of shape (tokens,); all if left out.

        Returns:
            float32 of shape (..., tokens).
        """
        states = states.to(device_of(self.head))
        if self._project is not None:
            states = self._project(states)
        if ids is None:
            found = self.head(states)
        elif type(self.head) is nn.Linear:  # not one whose weights are packed
            ids = ids.to(self.head.weight.device)
            bias = self.head.bias if self.head.bias is None else self.head.bias[ids]
            found = nn.functional.linear(states, self.head.weight[ids], bias)
        else:
            found = self.head(states)[..., ids]
        found = found.float()
        if self._softcap is not None:
            found = torch.tanh(found / self._softcap) * self._softcap
        return found

    def check(self, final: torch.Tensor, logits: torch.Tensor) -> None:
        """See, once, that the head on the final state is all that the model does at its end.

        Args:
            final: Final states, of shape (rows, hidden).
            logits: What the model said of them, of shape (rows, vocabulary).

        Raises:
            UnsupportedError: The model does more.
        """
        want = logits[:1].float()
        have = self.logits(final[:1]).to(want.device)
        if float((have - want).abs().max()) > _CLOSE * max(float(want.std()), 1.0):
            raise UnsupportedError(
                f"{self.name} does more between its last layer and its logits than a norm and a "
                "head; methods that read earlier layers (dola, deco, revisit, only) cannot be "
                "used with it."
            )
        self.checked = True


_STACKS: WeakKeyDictionary[PreTrainedModel, Stack] = WeakKeyDictionary()


def stack_of(model: PreTrainedModel) -> Stack:
    """A model's parts, found once."""
    found = _STACKS.get(model)
    if found is None:
        found = _STACKS[model] = Stack(model)
    return found


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are."""
    weight = getattr(module, "weight", None)
    found: torch.Tensor = next(module.parameters()) if weight is None else weight
    return found.device
