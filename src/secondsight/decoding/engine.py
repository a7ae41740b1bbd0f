"""The engine: sequences in one pool of rows, one token each per step.

It knows no text, no images and no settings. Requests join and leave at any step; what a sequence
says after a token depends on its own prompt and its own tokens alone, whoever else is there.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Hashable, Mapping
from collections.abc import Sequence as Many
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch
from transformers import PreTrainedModel

from secondsight.decoding import branching
from secondsight.decoding.collate import padding_id
from secondsight.decoding.cost import Cost
from secondsight.decoding.rows import Pool, Row
from secondsight.decoding.sampling import Sampler
from secondsight.decoding.schedule import Schedules
from secondsight.decoding.scoring import Scoring
from secondsight.decoding.sequence import Hypothesis, Prepared, Sequence, Update, rows_of
from secondsight.decoding.sharing import PrefixCache
from secondsight.decoding.step import Observer, Step, noted
from secondsight.devices import empty_caches
from secondsight.errors import ExhaustedError


class Engine:
    """Writes sequences, all running ones a token further at every step.

    One thread at a time may use it.

    Args:
        model: The model.
        prefixes: Beginnings of prompts that are kept for prompts to come; None for none.
        most: The most sequences that run at a time; None for all that are given.
        joins: The most that join at one step while others run, so that reading their prompts does
            not hold the others up for long; None for all.
        options: Passed to every forward pass that reads base views.

    Attributes:
        pool: The model's rows.
        running: The sequences whose tokens are being computed.
        waiting: Those that have not begun.
        scoring: What the last step read.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        prefixes: PrefixCache | None = None,
        most: int | None = None,
        joins: int | None = None,
        options: dict[str, bool] | None = None,
    ) -> None:
        self.pool = Pool(model, pad_id=padding_id(model), kept=prefixes)
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.most, self.joins = most, joins
        self.scoring: Scoring | None = None
        self._options = dict(options or {})
        self._schedules = Schedules(Cost.of(model))
        self._given = 0
        self._live: list[Hypothesis] = []
        self._midway = False
        self._cancelled: list[Sequence] = []
        self._suspects: set[Sequence] = set()
        self._tainted: set[Row] = set()

    def add(self, prepared: Prepared, *, observer: Observer | None = None) -> Sequence:
        """Queue a request; it begins with a step to come.

        Args:
            prepared: The request.
            observer: Told of every step of it.
        """
        sequence = Sequence(prepared, observer, prepared.sampler(), number=self._given)
        self._given += 1
        self.waiting.append(sequence)
        return sequence

    def cancel(self, sequence: Sequence) -> None:
        """End a sequence before the next pass."""
        if sequence.finished is None and sequence.error is None:
            self._cancelled.append(sequence)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.running or self.waiting or self._cancelled)

    @torch.no_grad()
    def step(self) -> list[Update]:
        """Admit who waits, write one token to every running sequence, release who has finished.

        Returns:
            What happened to each sequence.
        """
        updates = self.release_cancelled()
        self._admit()
        return updates + (self._write() if self.running else [])

    def recover(self, error: Exception) -> list[Update]:
        """Go on after a step that failed.

        Where memory ran out, the youngest half of the sequences gives its rows back and starts
        again later; all of them do where tokens had been written to some. After any other error
        all start again, one at a time: the one that it comes from fails alone.

        Args:
            error: What `step` raised; call this outside its handler, which keeps tensors alive.

        Returns:
            What happened to each sequence.
        """
        by_age = sorted(self.running, key=lambda one: one.number) or [self.waiting.popleft()]
        exhausted = out_of_memory(error)
        if len(by_age) == 1:
            [alone] = by_age
            alone.error = _exhausted() if exhausted else error
            self._release(by_age)
            self._suspects.discard(alone)
            return [Update(alone, None, None)]
        old = (len(by_age) + 1) // 2
        young = by_age[old:] if exhausted and not self._midway else by_age
        self._midway = False
        if exhausted:
            self.most = old
        else:
            self._suspects.update(young)
        self._requeue(young)
        gc.collect()
        empty_caches()
        return []

    def restart(self) -> None:
        """Let all running sequences start again from their seeds, after an error in a step."""
        self._requeue(sorted(self.running, key=lambda one: one.number))

    # A step

    def release_cancelled(self) -> list[Update]:
        """Release who was cancelled, without a step of the others."""
        cancelled = [one for one in self._cancelled if one.finished is None]
        self._cancelled = []
        for sequence in cancelled:
            sequence.finished = "cancelled"
            if sequence.beams is not None:
                branching.finish(sequence, sequence.beams.stopped("cancelled"))
        self._suspects.difference_update(cancelled)
        self._release([one for one in cancelled if one in self.running])
        self.waiting = deque(one for one in self.waiting if one.finished is None)
        return [Update(sequence, None, "cancelled") for sequence in cancelled]

    def _admit(self) -> None:
        joining: list[Sequence] = []
        most = 1 if self._suspects else self.most
        free = len(self.waiting) if most is None else most - len(self.running)
        if self.running and self.joins is not None:
            free = min(free, self.joins)
        while self.waiting and len(joining) < free:
            joining.append(self.waiting.popleft())
        if not joining:
            return
        for sequence in joining:
            sequence.start()
            self.pool.constants.update(sequence.prepared.constants)
        by_view = list(zip_longest(*(sequence.rows for sequence in joining)))
        others = [row for view in by_view[1:] for row in view if row is not None]
        try:
            self.pool.admit(by_view[0], others, room=self.most or 0)
        except BaseException:
            for sequence in reversed(joining):
                sequence.restart()
                self.waiting.appendleft(sequence)
            raise
        self.running = [*joining, *self.running]

    def _write(self) -> list[Update]:
        live = self._live = [one for sequence in self.running for one in sequence.hypotheses]
        scoring = Scoring(self.pool, live, self._schedules, self._options)
        self.scoring = scoring
        scores = scoring.scores(self._process)
        self._midway = True
        tokens = self._choose(scores)
        # One transfer for both: a device is waited for once.
        written, unsound = torch.stack([tokens, scores.amax(dim=-1).isnan()]).tolist()
        if any(unsound):
            scoring.explain(place for place, is_so in enumerate(unsound) if is_so)
        self._observe(scoring, scores, written)
        ends = self._end(written)
        updates = []
        first = 0
        for sequence in self.running:
            places = range(first, first + len(sequence.hypotheses))
            first = places.stop
            wrong = [scoring.unsound[place] for place in places if place in scoring.unsound]
            sequence.error = wrong[0] if wrong else None
            if sequence.beams is None:
                sequence.finished = ends[places[0]]
            elif not wrong:
                self._search(sequence, scoring, scores, places)
            if len(sequence.ids) > sequence.reported or sequence.error is not None:
                sequence.reported = max(sequence.reported, len(sequence.ids))
                token = sequence.ids[-1] if sequence.ids else None
                updates.append(Update(sequence, token, sequence.finished))
        for place in scoring.overflowed():
            self._tainted.update(live[place].rows)
        ended = [one for one in self.running if one.finished or one.error is not None]
        self._suspects.difference_update(ended)
        self._release(ended)
        if self.running:
            live = [one for sequence in self.running for one in sequence.hypotheses]
            self.pool.append({row: one.ids[-1] for one in live for row in one.rows})
        self._midway = False
        return updates

    def _search(
        self, sequence: Sequence, scoring: Scoring, scores: torch.Tensor, places: range
    ) -> None:
        """Let a search write a token to every hypothesis that goes on."""
        observer = sequence.observer

        def note(number: int, token: int, facts: Mapping[str, Any]) -> Any:
            assert observer is not None
            step = self._step(sequence, scoring, scores, places[number], token)
            return noted(observer, replace(step, facts={**step.facts, **facts}))

        own = scores[places.start : places.stop]
        branching.advance(self.pool, sequence, own, None if observer is None else note)

    def _groups(self) -> list[tuple[Sampler, list[int]]]:
        """The samplers of what is being written, and the places of theirs."""
        groups: dict[Hashable, tuple[Sampler, list[int]]] = {}
        for place, one in enumerate(self._live):
            groups.setdefault(id(one.sampler), (one.sampler, []))[1].append(place)
        return list(groups.values())

    def _process(self, scores: torch.Tensor) -> torch.Tensor:
        groups = self._groups()
        if len(groups) == 1:
            return groups[0][0].process(scores)
        for sampler, own in groups:
            before = scores[own]
            after = sampler.process(before)
            if after is not before:
                scores[own] = after
        return scores

    def _choose(self, scores: torch.Tensor) -> torch.Tensor:
        tokens = scores.argmax(dim=-1)
        for sampler, places in self._groups():
            chosen = sampler.choose(scores[places])
            if chosen is not None:
                tokens[places] = chosen
        return tokens

    def _end(self, tokens: Many[int]) -> list[Any]:
        """Write the tokens, and ask of each whether it ends its sequence."""
        ends: list[Any] = [None] * len(tokens)
        for sampler, places in self._groups():
            if self._live[places[0]].prepared.search is not None:
                continue  # the search writes
            for place in places:
                self._live[place].ids.append(tokens[place])
            for place, end in zip(
                places, sampler.write([tokens[place] for place in places]), strict=True
            ):
                ends[place] = end
        return ends

    def _observe(self, scoring: Scoring, scores: torch.Tensor, tokens: Many[int]) -> None:
        place = 0
        for sequence in self.running:
            told = len(sequence.ids) >= sequence.reported and sequence.beams is None
            if sequence.observer is not None and told:
                step = self._step(sequence, scoring, scores, place, tokens[place])
                sequence.observer(step)
            place += len(sequence.hypotheses)

    def _step(
        self,
        sequence: Sequence,
        scoring: Scoring,
        scores: torch.Tensor,
        place: int,
        token: int,
    ) -> Step:
        """What is told of one hypothesis of a sequence."""
        return Step(
            len(self._live[place].ids),
            sequence.number,
            scoring.logits(place),
            scoring.limits(place),
            scores[place],
            token,
            scoring.facts(place),
        )

    def _release(self, sequences: Many[Sequence]) -> None:
        if sequences:
            rows = rows_of(sequences)
            tainted = self._tainted.intersection(rows)
            if tainted:
                self.pool.erase(list(tainted))
                self._tainted -= tainted
            self.pool.release(rows)
            for sequence in sequences:  # it names itself: its images would stay until a collection
                sequence.hypotheses = []
            gone = set(sequences)
            self.running = [one for one in self.running if one not in gone]

    def _requeue(self, sequences: Many[Sequence]) -> None:
        self._release(sequences)
        for sequence in reversed(sequences):
            sequence.restart()
            self.waiting.appendleft(sequence)


def _exhausted() -> ExhaustedError:
    return ExhaustedError(
        "There is not enough memory to answer a single question: use a smaller model, a smaller "
        "dtype, or fewer max_new_tokens."
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    text = str(error).lower()
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "out of memory" in text or "can't allocate memory" in text
