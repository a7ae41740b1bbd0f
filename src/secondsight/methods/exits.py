"""What a method may read besides its views: what earlier layers would have said.

These are declarations; `secondsight.decoding.exits` reads them from the passes over the base view,
for the samples whose outcome they can still change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class EarlyExit:
    """The head on the hidden state after some layers, at the position that is read last.

    It says logits, float32 of shape (batch, vocabulary).

    Attributes:
        layer: How many layers the state has passed: 0 is the embedding, the depth the last
            layer's output, which has always passed the final norm.
        norm: Whether a state before the last passes the final norm as well.
    """

    layer: int
    norm: bool = True


@dataclass(frozen=True)
class ImageExit:
    """The head on the hidden states of the prompt's image positions.

    It says, for every sample, an `ImageLogits`.

    Attributes:
        layers: As `EarlyExit.layer`; states before the last do not pass the final norm.
    """

    layers: tuple[int, ...]


class ImageLogits(Protocol):
    """What the image positions of one sample say of some tokens."""

    positions: int
    """How many image positions there are."""

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of some tokens alone.

        Args:
            ids: Token ids, int64 of shape (tokens,).

        Returns:
            float32 of shape (layers * positions, tokens), the positions of the first layer first.
        """
        ...


@dataclass(frozen=True)
class Columns:
    """What each key is that the last position of some rows attends to.

    Attributes:
        first: Each row's first position, bool of shape (rows, keys).
        image: Image positions, of that shape.
        text: All others that the row has.
    """

    first: torch.Tensor
    image: torch.Tensor
    text: torch.Tensor


Alter = Callable[[torch.Tensor, Columns], tuple[torch.Tensor, torch.Tensor]]
"""Changes attention weights of shape (rows, heads, keys), float32; says which heads it removed,
bool of shape (rows, heads)."""


@dataclass(frozen=True)
class AlteredExit:
    """One layer's attention at the position that is read last, altered and read off at once.

    The altered output passes the last layer's first norm, meets a share of what enters that layer,
    and passes its feed-forward part; then the final norm, a share of the final state, the head.
    Where the layer is the last itself, it goes to the final norm at once.

    It says an `Altered`.

    Attributes:
        layer: The layer, from 0.
        alter: What becomes of its attention weights.
        entering: The share of the last layer's input.
        final: The share of the final state.
    """

    layer: int
    alter: Alter
    entering: float = 0.2
    final: float = 0.5


@dataclass(frozen=True)
class Altered:
    """What an `AlteredExit` says.

    Attributes:
        logits: float32 of shape (batch, vocabulary).
        removed: Which heads had no part in it, bool of shape (batch, heads).
    """

    logits: torch.Tensor
    removed: torch.Tensor


@dataclass(frozen=True)
class LanguageExit:
    """Another language model that reads the text of prompt and answer, without the image.

    It says logits, float32 of shape (batch, vocabulary); minus infinity for ids that it has not.

    Attributes:
        model: A causal language model of the same vocabulary, by name or folder.
    """

    model: str


Exit = EarlyExit | ImageExit | AlteredExit | LanguageExit


@dataclass(frozen=True)
class Early:
    """What a method's exits say, for the samples of one call.

    Attributes:
        exits: The exits.
        said: What each of them says; one tensor of shape (exits, batch, vocabulary) where all are
            `EarlyExit`s.
    """

    exits: tuple[Exit, ...]
    said: Sequence[Any] | torch.Tensor

    @property
    def logits(self) -> torch.Tensor:
        """What `EarlyExit`s say, float32 of shape (exits, batch, vocabulary)."""
        return self.said if isinstance(self.said, torch.Tensor) else torch.stack(list(self.said))

    def __getitem__(self, number: int) -> Any:
        """What one of the exits says."""
        return self.said[number]

    def part(self, start: int, stop: int) -> Early:
        """What some of the exits say, as if there were no others."""
        return Early(self.exits[start:stop], self.said[start:stop])


class ReadsExits(Protocol):
    """The form of a method with early exits."""

    def combine(self, logits: torch.Tensor, step: int, *, early: Early) -> torch.Tensor:
        """Combine the views' logits and what the exits say into scores, before plausibility.

        Args:
            logits: As for `Method.combine`.
            step: As for `Method.combine`.
            early: What the exits say of these samples.
        """
        ...
