"""Beam search: which hypotheses of a sequence go on, and which have ended.

Nothing here knows rows or the model; see `branching`. The rules are those of transformers 5: twice
as many candidates as beams, a hypothesis that ends counts if it is among the best, its score is
the sum of its log-probabilities divided by ``length ** length_penalty``, the end counted in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import torch

from secondsight.answer import FinishReason
from secondsight.decoding.sampling import Ends
from secondsight.methods.searches import Retrospection

EarlyStopping = bool | Literal["never"]

Note = Callable[[int, int, Mapping[str, Any]], Any]
"""Given a hypothesis's place, a token and facts, what is kept about this token of it."""

Attended = Mapping[str, torch.Tensor]
"""What `watching.WatchAnswer` has seen of a row."""

_LEAST: Final = torch.finfo(torch.float32).min
"""What some processors write for no chance."""


@dataclass(frozen=True)
class Search:
    """How a sequence is searched for.

    Attributes:
        beams: How many hypotheses go on at a time.
        ends: Says of the tokens of a hypothesis whether the last one ends it.
        longest: The most tokens that a hypothesis may have.
        end_tokens: How many tokens end a hypothesis.
        length_penalty: Above 0 long hypotheses are preferred, below 0 short ones.
        early_stopping: Whether the search ends with the first hypotheses that have ended, as many
            as there are beams; False for ending when the best of those that go on is behind all
            of them; ``never`` for ending when none can overtake them.
        prompt: How many ids the prompt has, an image being one.
        retrospection: OPERA's search, where it is that.
    """

    beams: int
    ends: Ends
    longest: int
    end_tokens: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    prompt: int = 0
    retrospection: Retrospection | None = None


@dataclass(frozen=True)
class Ended:
    """A hypothesis that has ended.

    Attributes:
        ids: Its tokens, the one that ends it included.
        score: The sum of its log-probabilities, divided by the length's power.
        reason: Why it ended.
        notes: What was kept about its tokens, as links from the last to the first.
    """

    ids: tuple[int, ...]
    score: float
    reason: FinishReason
    notes: Any = None


@dataclass(frozen=True)
class Beam:
    """A hypothesis that goes on.

    Attributes:
        ids: Its tokens.
        score: The sum of its log-probabilities.
        parent: The place of the hypothesis that it continues, in the step before.
        notes: As of `Ended`.
        rewritten: Whether it continues nothing of that one but the prompt.
    """

    ids: tuple[int, ...] = ()
    score: float = 0.0
    parent: int = 0
    notes: Any = None
    rewritten: bool = False


@dataclass
class Beams:
    """The hypotheses of one sequence.

    Attributes:
        search: How it is searched for.
        going: Those that go on, the best first.
        ended: Those that have ended, the best first, at most as many as there are beams.
        done: Whether the search has ended.
    """

    search: Search
    going: list[Beam] = field(default_factory=lambda: [Beam()])
    ended: list[Ended] = field(default_factory=list)
    done: bool = False

    def advance(
        self, scores: torch.Tensor, note: Note | None = None, seen: Many[Attended] = ()
    ) -> None:
        """Go a token further.

        Args:
            scores: The final scores after each hypothesis that goes on, float32 of shape
                (hypotheses, vocabulary); minus infinity for tokens without a chance.
            note: What is to be kept about a token.
            seen: What the newest token of each attended to, where the search asks for it.
        """
        search, length = self.search, len(self.going[0].ids) + 1
        going: list[Beam] = []
        candidates = self._best(scores)
        for rank, (parent, token, score) in enumerate(candidates):
            before = self.going[parent]
            ids = (*before.ids, token)
            reason = search.ends(ids)
            if reason is None and len(going) == search.beams:
                continue
            if reason is not None and rank >= search.beams:
                continue
            notes = (note(parent, token, {}), before.notes) if note is not None else None
            if reason is None:
                going.append(Beam(ids, score, parent, notes))
            else:
                self.ended.append(Ended(ids, self._final(score, length), reason, notes))
        # A stable sort: of equals the one that ended first stays before the other.
        self.ended = sorted(self.ended, key=lambda one: -one.score)[: search.beams]
        self.going = going
        self.done = not going or self._settled(going[0].score, length)

    def stopped(self, reason: FinishReason) -> list[Ended]:
        """The hypotheses as they are, the best first, where the search is broken off."""
        going = [
            Ended(one.ids, self._final(one.score, max(len(one.ids), 1)), reason, one.notes)
            for one in self.going
        ]
        ended = [
            replace(one, ids=one.ids[:-1] if one.reason == "eos" else one.ids, reason=reason)
            for one in self.ended
        ]
        return sorted([*ended, *going], key=lambda one: -one.score)

    def _best(self, scores: torch.Tensor) -> list[tuple[int, int, float]]:
        """The best continuations of all hypotheses: place, token and sum of log-probabilities."""
        so_far = torch.tensor([one.score for one in self.going], device=scores.device)
        sums = scores.log_softmax(dim=-1).masked_fill_(scores <= _LEAST, float("-inf"))
        sums += so_far[:, None]
        wanted = max(2, 1 + self.search.end_tokens) * self.search.beams
        best = sums.flatten().topk(min(wanted, sums.numel()))
        size = scores.shape[-1]
        found = [
            (place // size, place % size, value)
            for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            if value > _LEAST
        ]
        # Where nothing has a chance, greedy decoding goes on with the best token all the same.
        return found or [(0, int(scores[0].argmax()), self.going[0].score)]

    def _final(self, score: float, length: int) -> float:
        return score / float(length) ** self.search.length_penalty

    def _settled(self, best: float, length: int) -> bool:
        """Whether no hypothesis that goes on is expected to get among those that have ended."""
        search = self.search
        if len(self.ended) < search.beams:
            return False
        if search.early_stopping is True:
            return True
        hopeful = search.early_stopping == "never" and search.length_penalty > 0
        return self._final(best, search.longest if hopeful else length) <= self.ended[-1].score
