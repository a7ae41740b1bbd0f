"""A sequence: what was prepared for it, its rows, its tokens, and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any

from secondsight.answer import FinishReason
from secondsight.decoding.beams import Beams, Ended, Search
from secondsight.decoding.opera import Retrospective
from secondsight.decoding.recording import Exits, RowExits
from secondsight.decoding.rows import Prompt, Row
from secondsight.decoding.sampling import Sampler
from secondsight.decoding.step import Observer
from secondsight.methods import Method


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request ready for the engine: nothing in it is text, an image or a setting any more.

    Attributes:
        method: How its views combine.
        views: The prompt of each view, and its place where several prompts are one; the base
            first.
        sampler: Makes what chooses its tokens, anew at every start.
        schedule: When the views beyond the base are read.
        constants: Inputs of every forward pass that belong to no row.
        exits: What the method reads of earlier layers, if anything.
        search: How several hypotheses are searched through; None for writing one.
    """

    method: Method
    views: tuple[tuple[Prompt, int], ...]
    sampler: Callable[[], Sampler]
    schedule: str = "auto"
    constants: Mapping[str, Any] = field(default_factory=dict)
    exits: Exits | None = None
    search: Search | None = None


@dataclass(eq=False)
class Hypothesis:
    """Tokens behind a prompt, and the rows that they are in.

    Attributes:
        prepared: What was prepared for it.
        observer: Told of every step.
        sampler: Chooses its tokens; of a search, only processes its scores.
        rows: Its rows, the base's first; none while it waits.
        ids: The tokens so far, the one that ends it included.
    """

    prepared: Prepared
    observer: Observer | None
    sampler: Sampler
    rows: tuple[Row, ...] = ()
    ids: list[int] = field(default_factory=list)

    @property
    def method(self) -> Method:
        """How its views combine."""
        return self.prepared.method

    @property
    def optional(self) -> bool:
        """Whether there is anything besides the base's logits that its method may need."""
        return len(self.rows) > 1 or self.prepared.exits is not None

    @property
    def watched(self) -> bool:
        """Whether every view's logits are asked for at this step.

        A search reads all prompts before its hypotheses part, so that each is read once.
        """
        parts = self.prepared.search is not None and not self.ids
        return parts or self.observer is not None or self.sampler.watched

    def start(self) -> None:
        """Make its rows, with nothing read or written yet."""
        rows = [Row(prompt, place) for prompt, place in self.prepared.views]
        for row in rows[1:]:
            row.base = rows[0]
        exits = self.prepared.exits
        rows[0].exits = None if exits is None else RowExits(exits.exits, exits.needs)
        self.rows = tuple(rows)

    @property
    def waits(self) -> bool:
        """Whether a view is made of what happens when the base's prompt is read."""
        return any(row.waits for row in self.rows)


@dataclass(eq=False)
class Sequence(Hypothesis):
    """One answer while it is written: one hypothesis, or several that are searched through.

    Attributes:
        number: Its number among all that the engine was given.
        finished: Why it ended; None while it has not.
        error: What made it impossible to go on, if something did.
        reported: How many tokens have been told of.
        beams: The search, where there is one.
        hypotheses: What is being written: the sequence itself, or those of the search.
        found: What the search found, the best first, once it has ended.
    """

    number: int = 0
    finished: FinishReason | None = None
    error: Exception | None = None
    reported: int = 0
    beams: Beams | Retrospective | None = None
    hypotheses: list[Hypothesis] = field(default_factory=list)
    found: list[Ended] = field(default_factory=list)

    def start(self) -> None:
        """See `Hypothesis.start`; a search begins with one hypothesis."""
        super().start()
        self.hypotheses = [self]
        search = self.prepared.search
        if search is not None:
            first = Hypothesis(self.prepared, self.observer, self.sampler, self.rows)
            own = search.retrospection is not None
            self.beams = Retrospective(search) if own else Beams(search)
            self.hypotheses = [first]

    def restart(self) -> None:
        """Forget what was written: with the same seed it is written again."""
        self.rows, self.ids, self.finished = (), [], None
        self.beams, self.hypotheses = None, []
        self.sampler = self.prepared.sampler()


@dataclass(frozen=True)
class Update:
    """What a step did to one sequence.

    Attributes:
        sequence: The sequence.
        token: Its new token; None where it only ended.
        finished: Why it ended with it, if it did.
    """

    sequence: Sequence
    token: int | None
    finished: FinishReason | None


def rows_of(sequences: Many[Sequence]) -> list[Row]:
    """All rows of some sequences."""
    return [row for one in sequences for hypothesis in one.hypotheses for row in hypothesis.rows]
