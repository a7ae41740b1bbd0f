"""A search's hypotheses in the pool: rows that fork, are given up and go on in others' places."""

from __future__ import annotations

from dataclasses import replace

import torch

from secondsight.decoding.beams import Attended, Ended, Note
from secondsight.decoding.rows import Pool, Row
from secondsight.decoding.sampling import OwnSampler
from secondsight.decoding.sequence import Hypothesis, Sequence


def advance(pool: Pool, sequence: Sequence, scores: torch.Tensor, note: Note | None) -> None:
    """Let a search write one token to every hypothesis that goes on.

    The first that continues a hypothesis keeps its rows. Others get the rows of one that was
    given up, into which what was written is copied (the prompts are the same), or new ones.

    Args:
        pool: The rows.
        sequence: The sequence, with a search.
        scores: The final scores of its hypotheses, float32 of shape (hypotheses, vocabulary).
        note: What is kept about a token of a hypothesis; None for nothing.
    """
    beams, before = sequence.beams, sequence.hypotheses
    assert beams is not None
    beams.advance(scores, note, [_seen(one) for one in before])
    if beams.done:
        finish(sequence, beams.ended)
        return
    places = [beam.parent for beam in beams.going]
    unused = [one for place, one in enumerate(before) if place not in places]
    taken: set[int] = set()
    rows: list[tuple[Row, ...]] = []
    copies: list[tuple[Row, Row]] = []
    forks: list[int] = []
    for number, place in enumerate(places):
        own = before[place].rows
        if place in taken and unused:
            target = unused.pop().rows
            copies += zip(own, target, strict=True)
            own = target
        elif place in taken:
            forks.append(number)
        taken.add(place)
        rows.append(own)
    if copies:
        pool.follow(copies)
    if forks:
        made = pool.fork([row for number in forks for row in rows[number]])
        size = len(sequence.rows)
        for at, number in enumerate(forks):
            rows[number] = tuple(made[at * size : (at + 1) * size])
    if unused:
        pool.release([row for one in unused for row in one.rows])
    for own, beam in zip(rows, beams.going, strict=True):
        if beam.rewritten:  # all but the last token, which all rows get together
            for row in own:
                pool.rewrite(row, beam.ids[:-1])
    sequence.hypotheses = [
        _continued(sequence, own, beam.ids) for own, beam in zip(rows, beams.going, strict=True)
    ]


def finish(sequence: Sequence, found: list[Ended]) -> None:
    """End a sequence with what its search has found.

    Args:
        sequence: The sequence.
        found: The hypotheses, the best first.
    """
    best = found[0]
    sequence.found = [replace(one, notes=None) for one in found]
    sequence.ids, sequence.finished = list(best.ids), best.reason
    links, notes = best.notes, []
    while links is not None:
        told, links = links
        notes.append(told)
    for told in reversed(notes):
        told()


def _seen(hypothesis: Hypothesis) -> Attended:
    changes = hypothesis.rows[0].changes
    return changes.found if changes is not None else {}


def _continued(sequence: Sequence, rows: tuple[Row, ...], ids: tuple[int, ...]) -> Hypothesis:
    sampler = sequence.prepared.sampler()
    assert isinstance(sampler, OwnSampler), "a search belongs to one sequence"
    sampler.ids = list(ids)
    return Hypothesis(sequence.prepared, sequence.observer, sampler, rows, list(ids))
