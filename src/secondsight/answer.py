"""The answer to a question about an image, with the evidence for every token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FinishReason = Literal["eos", "length", "stop", "cancelled"]
"""Why an answer ended: by itself, at the length limit, at a stop string, or at somebody's word."""


@dataclass(frozen=True)
class TokenEvidence:
    """What speaks for one token of an answer.

    Attributes:
        id: The token's id.
        text: The token's text.
        probability: What the final distribution gave it.
        view_probabilities: What each view gave it, by the view's name, the original first.
        plausible: How many tokens were plausible; None where the method has no such constraint.
        regular_id: The token that the original view found likeliest.
        regular_text: Its text.
        changed: Whether the final distribution's likeliest token is another one.
        facts: What else the method decided, by name: the layer, the heads, the image tokens.
    """

    id: int
    text: str
    probability: float
    view_probabilities: Mapping[str, float]
    plausible: int | None
    regular_id: int
    regular_text: str
    changed: bool
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenUpdate:
    """One token of an answer that is being written.

    Attributes:
        index: How many tokens were before it.
        id: The token's id; None on an update that only ends the answer.
        text: What became readable with it; never part of a stop string. Joined they are the
            answer's text.
        finish_reason: Why the answer ended with it; None while it goes on.
    """

    index: int
    id: int | None
    text: str
    finish_reason: FinishReason | None


@dataclass(frozen=True)
class Alternative:
    """Another answer that a beam search has found.

    Attributes:
        text: The answer.
        ids: Its token ids, without the end-of-sequence token.
        finish_reason: Why it ended.
        score: As `Answer.score`.
    """

    text: str
    ids: tuple[int, ...]
    finish_reason: FinishReason
    score: float


@dataclass(frozen=True)
class Doubt:
    """How likely it is that a statement of an answer is made up.

    Attributes:
        kind: What is stated: that an ``object`` is there, how many of it (``count``), or its
            ``colour``.
        object: The object's name.
        text: The words that state it.
        start: Index of their first character in the answer's text.
        end: Index after their last character.
        probability: That it is made up: calibrated, or p(no) on the original view as it is.
        calibrated: Which of the two.
        refusal: p(no) / (p(yes) + p(no)) for the question about it on the original view; None
            where nothing was asked.
        views: The mean of that over the method's other views; None where they were not asked.
        token: The probability with which the words were written: the product over their tokens;
            None where it is not known.
    """

    kind: str
    object: str
    text: str
    start: int
    end: int
    probability: float
    calibrated: bool
    refusal: float | None = None
    views: float | None = None
    token: float | None = None


@dataclass(frozen=True)
class Repair:
    """What was done about a sentence that was doubted.

    Attributes:
        action: ``rewritten`` or ``dropped``.
        sentence: The sentence as it was.
        doubts: What was doubted in it; their places are those in `sentence`.
    """

    action: Literal["rewritten", "dropped"]
    sentence: str
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True)
class Answer:
    """An answer and where it came from.

    Attributes:
        text: The answer.
        ids: Its token ids, without the end-of-sequence token.
        finish_reason: ``eos``, ``length``, ``stop`` or ``cancelled``.
        timings: Seconds: ``encode`` (images and prompts of all views), ``generate`` (from
            its place in the queue to its end), ``first_token`` (until its first token).
        provenance: Everything needed to run it again: model, method with all its parameters, what
            the views drew, seed, settings, versions.
        evidence: One entry per token of `ids`, if it was asked for; None for a text from which
            something was dropped, which no model has written as it stands.
        score: Of a beam search: the sum of the log-probabilities that the method's final scores
            gave the tokens, the end included, divided by their number to the length penalty.
        alternatives: Of a beam search: the next best answers, if several were asked for.
        doubts: How far each statement is to be doubted, in order, if it was asked for.
        repairs: What `check` changed, in order.
    """

    text: str
    ids: tuple[int, ...]
    finish_reason: FinishReason
    timings: Mapping[str, float]
    provenance: Mapping[str, Any]
    evidence: tuple[TokenEvidence, ...] | None = None
    score: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    doubts: tuple[Doubt, ...] | None = None
    repairs: tuple[Repair, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data, ready for JSON; what was not asked for is left out."""
        found = asdict(self)
        if self.score is None:
            del found["score"], found["alternatives"]
        del found["doubts"], found["repairs"]
        return {**found, **self.checked()}

    def checked(self) -> dict[str, Any]:
        """The doubts and repairs as plain data; nothing where nothing was asked."""
        if self.doubts is None:
            return {}
        return {
            "doubts": [asdict(doubt) for doubt in self.doubts],
            "repairs": [asdict(repair) for repair in self.repairs],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """The answer as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def __str__(self) -> str:
        return self.text
