"""OPERA's search (arXiv 2311.17911): a penalty for over-trust, and rollbacks.

What is written in a step are the candidates of every hypothesis, and so each is read before it is
chosen: its attention says its penalty, and what follows a chosen one is known already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch

from secondsight.answer import FinishReason
from secondsight.decoding.beams import Attended, Beam, Ended, Note, Search

_EARLY: Final = 10
"""For so many tokens the penalty is minus the attention to the image; no rollback goes behind."""

_SMALL: Final = np.float32(1e-7)
"""The code's factor of column products."""

_LOWEST: Final = -999.0
"""What the code writes for the least likely token before it chooses anew."""

_WORST: Final = -1e30
"""What is left of a score after an infinite penalty."""

_BUFFER: Final = 512
"""The code's states; beyond, it does not go back."""

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Hypothesis:
    """A hypothesis whose newest token has been read.

    Attributes:
        ids: Its tokens.
        score: The sum of its log-probabilities.
        products: For every token the product of the scaled attention to it, of all from itself to
            the newest, float32 of shape (tokens,).
        trusted: Which token was trusted most, at every step.
        notes: As of `Beam`.
        live: The place of its rows among what is being written.
    """

    ids: tuple[int, ...] = ()
    score: float = 0.0
    products: _Array = field(default_factory=lambda: np.zeros(0, np.float32))
    trusted: tuple[int, ...] = ()
    notes: Any = None
    live: int = 0


@dataclass(frozen=True)
class _Candidate:
    """A token that may follow a hypothesis, of which it has the place and its own score."""

    beam: int
    token: int
    score: float
    notes: Any


@dataclass(frozen=True)
class _State:
    """What a rollback to a step brings back."""

    beams: tuple[_Hypothesis, ...]
    ended: tuple[Ended, ...]


@dataclass(frozen=True)
class Rollback:
    """One rollback.

    Attributes:
        trusted: The token that was trusted too much, by its place in the answer.
        to: How many tokens were left.
        dropped: How many there were.
    """

    trusted: int
    to: int
    dropped: int


@dataclass
class Retrospective:
    """The hypotheses of one sequence under OPERA; the form is that of `beams.Beams`.

    Attributes:
        search: How it is searched for.
        going: What is being written: candidates of hypotheses, or hypotheses without.
        ended: Hypotheses that have ended, the best first.
        done: Whether the search has ended.
        rollbacks: Those so far.
        chosen: At every step the hypotheses that were continued, and by which tokens.
    """

    search: Search
    going: list[Beam] = field(default_factory=lambda: [Beam()])
    ended: list[Ended] = field(default_factory=list)
    done: bool = False
    rollbacks: list[Rollback] = field(default_factory=list)
    chosen: list[list[tuple[int, int]]] = field(default_factory=list)
    _beams: list[_Hypothesis] = field(default_factory=lambda: [_Hypothesis()])
    _candidates: list[_Candidate] = field(default_factory=list)
    _rests: list[float] = field(default_factory=list)
    _revived: Rollback | None = None
    _key: int = 0
    _states: list[_State] = field(default_factory=list)
    _slots: list[list[int]] = field(default_factory=list)
    _rejected: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    _resumed: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.search.retrospection is not None
        self._plan = self.search.retrospection

    def advance(
        self, scores: torch.Tensor, note: Note | None = None, seen: Many[Attended] = ()
    ) -> None:
        """Go on after what was written has been read; see `Beams.advance`."""
        if self._revived is not None:
            self._choose_anew(scores, note)
        elif not self._candidates:
            self._beams = [
                replace(one, products=self._extended(one, seen[place]), live=place)
                for place, one in enumerate(self._beams)
            ]
            self._look_ahead(scores, note)
        elif not self._judge(seen):
            return
        elif not self.done:
            self._look_ahead(scores, note)

    def stopped(self, reason: FinishReason) -> list[Ended]:
        """See `Beams.stopped`."""
        going = [
            Ended(one.ids, self._final(one.score, len(one.ids)), reason, one.notes)
            for one in self._beams
        ]
        ended = [
            replace(one, ids=one.ids[:-1] if one.reason == "eos" else one.ids, reason=reason)
            for one in self.ended
        ]
        return sorted([*ended, *going], key=lambda one: -one.score)

    # Looking ahead

    def _look_ahead(self, scores: torch.Tensor, note: Note | None) -> None:
        """Write the likeliest tokens of every hypothesis, to see what they attend to."""
        del self._states[len(self._beams[0].ids) :]
        self._states.append(_State(tuple(self._beams), tuple(self.ended)))
        own = scores[[one.live for one in self._beams]]
        best = own.topk(min(self._plan.candidates, own.shape[-1]), dim=-1)
        sums = own.logsumexp(dim=-1).tolist()
        self._candidates, self.going, self._rests = [], [], []
        facts = {"rollbacks": len(self.rollbacks)}
        for place, (one, values, tokens) in enumerate(
            zip(self._beams, best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            pairs = list(zip(values, tokens, strict=True))
            kept = [pair for pair in pairs if pair[0] > _WORST] or pairs[:1]
            for value, token in kept:
                said = (note(one.live, token, facts), one.notes) if note is not None else None
                self._candidates.append(_Candidate(place, token, value, said))
                self.going.append(Beam((*one.ids, token), parent=one.live))
            share = sum(math.exp(value - sums[place]) for value, _ in kept)
            self._rests.append(sums[place] + math.log(max(1 - share, 1e-12)))

    def _extended(self, one: _Hypothesis, seen: Attended) -> _Array:
        """The products with those of a newest token that has just been read."""
        count = len(one.ids)
        if len(one.products) == count:
            return one.products
        weights = seen["attention"][-count:].float().cpu().numpy() * np.float32(self._plan.scale)
        with np.errstate(over="ignore", invalid="ignore"):
            products = np.append(one.products * weights[:-1], weights[-1:]).astype(np.float32)
        return np.nan_to_num(products, copy=False, nan=0.0, posinf=np.inf)

    # Judging

    def _judge(self, seen: Many[Attended]) -> bool:
        """Choose among the candidates; False where the search goes back instead."""
        step, official = len(self._beams[0].ids), self._plan.official
        grown = [
            self._extended(
                replace(self._beams[one.beam], ids=(*self._beams[one.beam].ids, one.token)),
                seen[at],
            )
            for at, one in enumerate(self._candidates)
        ]
        with np.errstate(over="ignore"):
            columns = [_SMALL * products for products in grown]
            if official:
                columns = [column.astype(np.float16) for column in columns]
        where = [int(np.argmax(column)) for column in columns]
        trusted = [
            _mode([at for one, at in zip(self._candidates, where, strict=True) if one.beam == beam])
            for beam in range(len(self._beams))
        ]
        self._beams = [
            replace(one, trusted=(*one.trusted, at))
            for one, at in zip(self._beams, trusted, strict=True)
        ]
        del self._slots[step:]
        # The code begins with as many hypotheses as it has beams, all of them the same.
        self._slots.append(trusted + trusted[:1] * (self._plan.beams - len(trusted)))
        if self._goes_back(_mode(trusted), step):
            return False
        if step < _EARLY:
            penalties = [-float(one["image"]) for one in seen]
        else:
            penalties = [float(column.max()) for column in columns]
        self._choose(self._logs(penalties), grown)
        return True

    def _logs(self, penalties: Many[float]) -> list[float]:
        """Log-probabilities of the candidates, the penalties taken off their scores."""
        weight = self._plan.weight
        punished = [
            max(one.score - weight * penalty, _WORST) if weight else one.score
            for one, penalty in zip(self._candidates, penalties, strict=True)
        ]
        sums = []
        for beam, rest in enumerate(self._rests):
            own = [v for one, v in zip(self._candidates, punished, strict=True) if one.beam == beam]
            sums.append(_logsumexp(own if self._plan.official else [*own, rest]))
        return [
            value - sums[one.beam] for one, value in zip(self._candidates, punished, strict=True)
        ]

    def _choose(self, logs: Many[float], grown: Many[_Array]) -> None:
        sums = [
            self._beams[one.beam].score + log
            for one, log in zip(self._candidates, logs, strict=True)
        ]
        order = sorted(range(len(sums)), key=lambda at: -sums[at])
        self._take(
            [
                replace(
                    self._beams[one.beam],
                    ids=(*self._beams[one.beam].ids, one.token),
                    score=sums[at],
                    products=grown[at],
                    notes=one.notes,
                    live=at,
                )
                for at in order
                if (one := self._candidates[at])
            ],
            [self._candidates[at].beam for at in order],
        )

    def _take(self, candidates: Many[_Hypothesis], parents: Many[int]) -> None:
        """Go on with the best that do not end, and keep the best of those that do."""
        plan, search = self._plan, self.search
        going: list[_Hypothesis] = []
        chosen: list[tuple[int, int]] = []
        wanted = max(2, 1 + search.end_tokens) * plan.beams
        before = self._beams
        for rank, one in enumerate(candidates[:wanted]):
            reason = search.ends(one.ids)
            if reason is None and len(going) < plan.beams:
                going.append(one)
                chosen.append((parents[rank], one.ids[-1]))
            elif reason is not None and rank < plan.beams:
                written = len(one.ids) - (reason == "eos" and plan.official)
                final = self._final(one.score, written)
                self.ended.append(Ended(one.ids, final, reason, one.notes))
        self.ended = sorted(self.ended, key=lambda one: -one.score)[: plan.beams]
        del self.chosen[len(before[0].ids) :]
        self.chosen.append(chosen)
        self._beams = going
        length = len(before[0].ids) + (not plan.official)
        self.done = not going or self._settled(going[0].score, length)

    def _final(self, score: float, length: int) -> float:
        length += self.search.prompt if self._plan.official else 0
        return score / float(max(length, 1)) ** self.search.length_penalty

    def _settled(self, best: float, length: int) -> bool:
        search = self.search
        if len(self.ended) < self._plan.beams:
            return False
        if search.early_stopping is True:
            return True
        hopeful = search.early_stopping == "never" and search.length_penalty > 0
        return self._final(best, search.longest if hopeful else length) <= self.ended[-1].score

    # Going back

    def _goes_back(self, trusted: int, step: int) -> bool:
        """Whether one token was trusted too much; then the hypotheses before it are revived."""
        plan = self._plan
        if plan.official:
            histories = [list(slot) for slot in zip(*self._slots, strict=False)]
        else:
            histories = [list(one.trusted) for one in self._beams]
        often = all(history.count(trusted) > plan.threshold for history in histories)
        if not often or trusted < _EARLY or (plan.official and step >= _BUFFER):
            return False
        key = trusted + 1
        if self._resumed.get(key, 0) >= plan.candidates:
            key -= 1
            if self._resumed.get(key, 0) >= plan.candidates:
                return False
        to = min(key, step - 1)
        self._resumed[key] = self._resumed.get(key, 0) + 1
        self._rejected[key] = [*self._rejected.get(key, []), *self.chosen[to]]
        for later in [at for at in self._rejected if at > key]:
            if later == key + 1 or not plan.official:
                del self._rejected[later]
        self._revived, self._key = Rollback(trusted, to, step), key
        self.rollbacks.append(self._revived)
        state = self._states[to]
        del self._slots[to + 1 :]
        self.ended = list(state.ended)
        self._beams = [replace(one, live=at) for at, one in enumerate(state.beams)]
        self._candidates = []
        self.going = [
            Beam(one.ids, one.score, at, one.notes, rewritten=True)
            for at, one in enumerate(self._beams)
        ]
        return True

    def _choose_anew(self, scores: torch.Tensor, note: Note | None) -> None:
        """Choose after a rollback: no penalty, and none of what was chosen there before."""
        plan = self._plan
        self._revived = None
        unchanged, scores = scores, scores.clone()
        lowest = -math.inf
        if plan.official:
            scores += _LOWEST - scores.amin(dim=-1, keepdim=True)
            lowest = _LOWEST
        for beam, token in self._rejected[self._key]:
            scores[beam, token] = lowest
        if not bool((scores > _WORST).any()):  # nothing else is left to choose
            scores = unchanged
        so_far = torch.tensor([one.score for one in self._beams], device=scores.device)
        sums = (scores.log_softmax(dim=-1) + so_far[:, None]).nan_to_num(nan=-math.inf)
        wanted = max(2, 1 + self.search.end_tokens) * plan.beams
        best = sums.flatten().topk(min(wanted, sums.numel()))
        size, facts = scores.shape[-1], {"rollbacks": len(self.rollbacks)}
        found, parents = [], []
        for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            if value <= _WORST:
                continue
            one, token = self._beams[place // size], place % size
            said = (note(one.live, token, facts), one.notes) if note is not None else None
            found.append(replace(one, ids=(*one.ids, token), score=value, notes=said))
            parents.append(one.live)
        self._take(found, parents)
        self.going = [Beam(one.ids, one.score, one.live, one.notes) for one in self._beams]


def _mode(values: Many[int]) -> int:
    """The value that is there most often; of several the smallest."""
    return min(values, key=lambda value: (-values.count(value), value))


def _logsumexp(values: Many[float]) -> float:
    most = max(values)
    if most == -math.inf:
        return most
    return most + math.log(sum(math.exp(value - most) for value in values))
