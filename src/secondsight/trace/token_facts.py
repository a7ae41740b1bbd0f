"""What is recorded of every token: what each view and each layer thought of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A token that a distribution considered."""

    id: int
    text: str
    probability: float
    logit: float


@dataclass(frozen=True)
class ViewOpinion:
    """What one view thought at one step.

    Attributes:
        view: The view's name.
        top: Its likeliest tokens.
        probability: What it gave the chosen token.
        rank: The chosen token's rank, from 1.
        entropy: How undecided it was, in bits.
        js: Jensen-Shannon divergence from the original view, in bits, 0 to 1.
    """

    view: str
    top: tuple[Candidate, ...]
    probability: float
    rank: int
    entropy: float
    js: float


@dataclass(frozen=True)
class TokenFacts:
    """Why one token was written.

    Attributes:
        index: Its place in the answer, from 0.
        id: Its id.
        piece: How the vocabulary writes it.
        text: What it adds to the answer.
        probability: What the final distribution gave it.
        final: The final distribution's likeliest tokens.
        views: What each view thought, the original first.
        cutoff: The plausibility cutoff as a logit of the original view, if there is one.
        cutoff_probability: The same as a probability.
        plausible: How many tokens survived it; None without the constraint.
        regular_id: The token that regular greedy decoding would have taken here.
        regular_text: Its text.
        changed: Whether the final distribution's likeliest token is another one.
        without_image: The probability of the token in the same place without the image, where
            that could be told.
        dependence: Bits by which the image raises the token's probability: log2(with / without).
        facts: What else the method decided for it, by name: a layer, heads, image tokens.
    """

    index: int
    id: int
    piece: str
    text: str
    probability: float
    final: tuple[Candidate, ...]
    views: tuple[ViewOpinion, ...]
    cutoff: float | None
    cutoff_probability: float | None
    plausible: int | None
    regular_id: int
    regular_text: str
    changed: bool
    without_image: float | None = None
    dependence: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Word:
    """A word of the answer.

    Attributes:
        text: The word, with the blanks before it.
        tokens: The places in the answer of the tokens that begin in it.
        dependence: Bits by which the image raises its probability; None where not known.
        object: The object that it names, if any.
        doubt: How likely what it states is made up, where the model was asked about that.
        doubtful: Whether that is more than the method lets pass.
    """

    text: str
    tokens: tuple[int, ...]
    dependence: float | None
    object: str | None
    doubt: float | None = None
    doubtful: bool = False


@dataclass(frozen=True)
class LensLayer:
    """What one layer would have said for one token (logit lens).

    Attributes:
        layer: 0 for the embeddings, then 1 to the number of layers.
        top: The likeliest tokens if the model ended after this layer.
        probability: What it gives the token that was written.
        rank: That token's rank, from 1.
    """

    layer: int
    top: tuple[Candidate, ...]
    probability: float
    rank: int
