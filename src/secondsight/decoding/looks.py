"""One step's look at the samples: which views are read, and the scores that they combine to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.utils import ModelOutput

from secondsight.decoding.observer import Step
from secondsight.decoding.rows import Rows
from secondsight.decoding.schedule import Schedule
from secondsight.methods import Method

_NEVER = float("-inf")
_LEAST = torch.finfo(torch.float32).min
"""What some processors write for no chance; others turn a row without any into NaN."""


class Looks:
    """Reads the views of every step, as many of them as can change the outcome.

    Args:
        rows: The model's rows.
        method: How the views combine.
        schedule: When the views beyond the original are read.
    """

    def __init__(self, rows: Rows, method: Method, schedule: Schedule) -> None:
        self._rows = rows
        self._method = method
        self._schedule = schedule
        self._others = range(1, rows.views)

    def next(self, steps: Sequence[int], **options: Any) -> Look:
        """Look at all samples once.

        Args:
            steps: How many tokens have been generated for each sample.
            **options: Passed to the model's forward pass.
        """
        rows = self._rows
        riders = self._riders()
        wanted = rows.rows_of([0], range(rows.samples)) + rows.rows_of(self._others, riders)
        logits, output = rows.advance(wanted, **options)
        original, others = logits[: rows.samples], logits[rows.samples :]
        look = Look(self, steps, original, riders, others, output)
        if rows.views > 1 and self._schedule.reads_everything:
            look.wake(range(rows.samples))
        elif rows.views > 1:
            undecided = look.undecided()
            look.wake(undecided)
            self._schedule.saw(len(undecided) / rows.samples)
        return look

    def _riders(self) -> list[int]:
        """The samples whose other views are read together with the original."""
        rows = self._rows
        samples = range(rows.samples)
        if rows.views == 1 or self._schedule.one_pass:
            return list(samples)
        if not self._schedule.together(rows.samples, len(self._others), rows.length):
            return []
        others = {sample: rows.rows_of(self._others, [sample]) for sample in samples}
        return [
            sample
            for sample, its_rows in others.items()
            if not any(map(rows.unread, its_rows)) and rows.behind(its_rows) == 1
        ]

    def read(self, samples: Sequence[int]) -> torch.Tensor:
        """Let the other views of some samples catch up; logits of (views - 1) x samples rows."""
        return self._rows.advance(self._rows.rows_of(self._others, samples))[0]

    @property
    def method(self) -> Method:
        """How the views combine."""
        return self._method

    @property
    def views(self) -> int:
        """Number of views."""
        return self._rows.views


class Look:
    """What one step saw, and what follows from it.

    Args:
        looks: Where it comes from.
        steps: How many tokens have been generated for each sample.
        original: The original view's raw logits.
        riders: The samples whose other views were read as well.
        others: Their logits: views - 1 blocks of their rows.
        output: The model's output of the pass that read the original view.

    Attributes:
        original: The original view's raw logits, float32 of shape (samples, vocabulary).
        plausible: Which tokens have a chance, bool of that shape, or None for all.
        output: The model's output of the pass that read the original view.
    """

    def __init__(
        self,
        looks: Looks,
        steps: Sequence[int],
        original: torch.Tensor,
        riders: Sequence[int],
        others: torch.Tensor,
        output: ModelOutput,
    ) -> None:
        self._looks = looks
        self._steps = steps
        self.original = original
        self.output = output
        self.plausible = looks.method.plausible(original)
        self._known = list(riders)
        self._others = self._by_view(others, len(riders))

    def _by_view(self, logits: torch.Tensor, samples: int) -> torch.Tensor:
        return logits.view(self._looks.views - 1, samples, self.original.shape[-1])

    def undecided(self) -> list[int]:
        """The samples for which the other views can still change the outcome."""
        found = torch.empty(len(self._steps), dtype=torch.bool, device=self.original.device)
        for step, places in _by_step(self._steps):
            plausible = None if self.plausible is None else self.plausible[places]
            found[places] = self._looks.method.undecided(self.original[places], plausible, step)
        return [sample for sample, undecided in enumerate(found.tolist()) if undecided]

    def wake(self, samples: Sequence[int]) -> None:
        """Read the other views of these samples, unless that has been done."""
        known = set(self._known)
        missing = [sample for sample in samples if sample not in known]
        if missing and self._looks.views > 1:
            found = self._by_view(self._looks.read(missing), len(missing))
            self._others = torch.cat([self._others, found], dim=1)
            self._known += missing

    def logits(self) -> torch.Tensor:
        """All views' raw logits of the samples that are known, (views, known, vocabulary)."""
        complete = self._known == list(range(len(self.original)))
        original = self.original if complete else self.original[self._known]
        return torch.cat([original.unsqueeze(0), self._others])

    def combined(self) -> torch.Tensor:
        """Scores before plausibility; the original's logits where nothing else can matter."""
        if not self._known:
            return self.original.clone()
        known = self._combine(self.logits())
        if self._known == list(range(len(self.original))):
            return known
        combined = self.original.clone()
        combined[self._known] = known
        return combined

    def _combine(self, logits: torch.Tensor) -> torch.Tensor:
        """Combine the known samples' logits; those of one step together."""
        combined = torch.empty_like(logits[0])
        for step, places in _by_step([self._steps[sample] for sample in self._known]):
            combined[places] = self._looks.method.combine(logits[:, places], step)
        return combined

    def scores(self, process: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The final scores.

        Where the logits processors ban every plausible token (a minimum length when only the
        end is plausible, say), plausibility is judged anew among the tokens that they allow.

        Args:
            process: Applies the logits processors and warpers to scores of all samples.

        Returns:
            float32 of shape (samples, vocabulary).
        """
        if self.plausible is None:
            return process(self.combined())
        masked = self.combined().masked_fill(~self.plausible, _NEVER)
        scores = process(masked)
        if scores is masked:
            return scores
        dead = (~(scores > _LEAST).any(dim=-1)).nonzero()[:, 0].tolist()
        if not dead:
            return scores
        self.wake(dead)
        allowed = process(self.original.clone()) > _LEAST
        second = self._looks.method.plausible(self.original.masked_fill(~allowed, _NEVER))
        if second is None:
            second = allowed
        rescored = process(self.combined().masked_fill(~(second & allowed), _NEVER))
        scores[dead] = rescored[dead]
        return scores

    def as_step(
        self, place: slice, samples: list[int], scores: torch.Tensor, tokens: torch.Tensor
    ) -> Step:
        """Some samples of this look for an observer; every view must have been read.

        Args:
            place: Which samples; all have as many tokens.
            samples: The numbers by which the observer knows them.
            scores: Their final scores.
            tokens: Their tokens.
        """
        plausible = None if self.plausible is None else self.plausible[place]
        index = self._steps[place][0]
        return Step(index, samples, self.logits()[:, place], plausible, scores, tokens)


def _by_step(steps: Sequence[int]) -> list[tuple[int, slice | list[int]]]:
    """Places grouped by how many tokens have been generated there; usually one group of all."""
    if len(set(steps)) == 1:
        return [(steps[0], slice(None))]
    return [
        (step, [place for place, other in enumerate(steps) if other == step])
        for step in sorted(set(steps))
    ]
