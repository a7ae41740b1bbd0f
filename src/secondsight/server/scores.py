"""What speaks for each token: log-probabilities, and what every view says, from a step's logits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerBase

from secondsight.server.backend import Scored

SHOWN: Final = 5
"""Candidates that the evidence names for each view and for the final distribution."""


class TokenTexts:
    """The text and the bytes of single tokens.

    A token may be part of a character; its bytes are exact, its text then holds U+FFFD.

    Args:
        tokenizer: The model's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, tuple[str, bytes]] = {}

    def joined(self, tokens: Sequence[int]) -> str:
        """The text of tokens in a row, blanks around it included."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def __call__(self, token: int) -> tuple[str, bytes]:
        """A token's text and bytes."""
        if token not in self._known:
            piece = self._tokenizer.convert_ids_to_tokens(token)
            data = _bytes(piece, str(self._tokenizer.decode([token])))
            self._known[token] = (data.decode(errors="replace"), data)
        return self._known[token]


def _bytes(piece: str | None, decoded: str) -> bytes:
    if piece is None:
        return decoded.encode()
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    if "\u2581" in piece:
        return piece.replace("\u2581", " ").encode()
    letters = _byte_letters()
    if piece != decoded and all(letter in letters for letter in piece):
        return bytes(letters[letter] for letter in piece)
    return decoded.encode()


@cache
def _byte_letters() -> Mapping[str, int]:
    """Which letter stands for which byte in byte-level vocabularies, as GPT-2's have it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): byte for byte in plain}
    return letters | {chr(256 + place): byte for place, byte in enumerate(others)}


@dataclass(frozen=True)
class Scores:
    """What a step said of the token that was chosen."""

    chosen: Scored
    top: tuple[Scored, ...]
    evidence: Mapping[str, Any] | None


def scores_of(
    texts: TokenTexts,
    logits: torch.Tensor,
    scores: torch.Tensor,
    plausible: torch.Tensor | None,
    token: int,
    *,
    names: Sequence[str],
    top: int,
    evidence: bool,
) -> Scores:
    """Read one step.

    Args:
        texts: Reads tokens.
        logits: Every view's raw logits, float32 of shape (views, vocabulary).
        scores: The final scores, float32 of shape (vocabulary,).
        plausible: Which tokens kept a chance, bool of shape (vocabulary,), or None.
        token: The chosen id.
        names: The views' names, the base first.
        top: How many alternatives to name, likeliest first; tokens without a chance are none.
        evidence: Whether to say what the views thought.
    """
    final = scores.log_softmax(dim=-1)
    best = _top(final, max(top, SHOWN if evidence else 0))

    def scored(one: int, logprob: float) -> Scored:
        return Scored(*texts(one), logprob)

    said = _evidence(texts, logits, final, best, plausible, token, names) if evidence else None
    return Scores(
        chosen=scored(token, float(final[token])),
        top=tuple(scored(one, value) for one, value in best[:top]),
        evidence=said,
    )


def _top(logprobs: torch.Tensor, count: int) -> list[tuple[int, float]]:
    if not count:
        return []
    values, ids = logprobs.topk(min(count, len(logprobs)))
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return [(token, value) for token, value in pairs if value > float("-inf")]


def _evidence(
    texts: TokenTexts,
    logits: torch.Tensor,
    final: torch.Tensor,
    best: Sequence[tuple[int, float]],
    plausible: torch.Tensor | None,
    token: int,
    names: Sequence[str],
) -> dict[str, Any]:
    views = logits.log_softmax(dim=-1)
    regular = int(logits[0].argmax())

    def candidates(found: Sequence[tuple[int, float]]) -> list[dict[str, Any]]:
        return [
            {"id": one, "token": texts(one)[0], "probability": _probability(value)}
            for one, value in found[:SHOWN]
        ]

    return {
        "id": token,
        "token": texts(token)[0],
        "probability": _probability(float(final[token])),
        "top": candidates(best),
        "plausible": None if plausible is None else int(plausible.sum()),
        "regular": {"id": regular, "token": texts(regular)[0]},
        "changed": int(final.argmax()) != regular,
        "views": [
            {
                "view": name,
                "probability": _probability(float(view[token])),
                "top": candidates(_top(view, SHOWN)),
            }
            for name, view in zip(names, views, strict=True)
        ],
    }


def _probability(logprob: float) -> float:
    return round(math.exp(logprob), 6)
