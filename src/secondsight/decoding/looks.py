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

    def next(self, index: int, **options: Any) -> Look:
        """Look at all samples once.

        Args:
            index: How many tokens have been generated.
            **options: Passed to the model's forward pass.
        """
        rows = self._rows
        riders = self._riders()
        wanted = rows.rows_of([0], range(rows.samples)) + rows.rows_of(self._others, riders)
        logits, output = rows.advance(wanted, **options)
        look = Look(self, index, logits[: rows.samples], output)
        if riders:
            look.learn(riders, logits[rows.samples :])
        if rows.views > 1:
            undecided = self._method.undecided(look.original, look.plausible, index).tolist()
            look.wake([sample for sample, open_ in enumerate(undecided) if open_])
            self._schedule.saw(sum(undecided) / len(undecided))
        return look

    def _riders(self) -> list[int]:
        """The samples whose other views are read together with the original."""
        rows = self._rows
        samples = range(rows.samples if rows.views > 1 else 0)
        if self._schedule.reads_everything:
            return list(samples)
        if not self._schedule.together:
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

    Attributes:
        original: The original view's raw logits, float32 of shape (samples, vocabulary).
        plausible: Which tokens have a chance, bool of that shape, or None for all.
        output: The model's output of the pass that read the original view.
    """

    def __init__(
        self, looks: Looks, index: int, original: torch.Tensor, output: ModelOutput
    ) -> None:
        self._looks = looks
        self._index = index
        self.original = original
        self.output = output
        self.plausible = looks.method.plausible(original)
        self._others: dict[int, torch.Tensor] = {}
        if looks.views == 1:
            self.learn(range(len(original)), original[:0])

    def learn(self, samples: Sequence[int], logits: torch.Tensor) -> None:
        """Take in the other views' logits of some samples: views - 1 blocks of their rows."""
        by_sample = logits.view(self._looks.views - 1, len(samples), self.original.shape[-1])
        for place, sample in enumerate(samples):
            self._others[sample] = by_sample[:, place]

    def wake(self, samples: Sequence[int]) -> None:
        """Read the other views of these samples, unless that has been done."""
        missing = [sample for sample in samples if sample not in self._others]
        if missing:
            self.learn(missing, self._looks.read(missing))

    def logits(self, samples: Sequence[int]) -> torch.Tensor:
        """All views' raw logits of samples that are known, (views, samples, vocabulary)."""
        original = self.original[list(samples)].unsqueeze(0)
        if self._looks.views == 1:
            return original
        others = torch.stack([self._others[sample] for sample in samples], dim=1)
        return torch.cat([original, others])

    def combined(self) -> torch.Tensor:
        """Scores before plausibility; the original's logits where nothing else can matter."""
        known = sorted(self._others)
        if len(known) == len(self.original):
            return self._looks.method.combine(self.logits(known), self._index)
        combined = self.original.clone()
        if known:
            combined[known] = self._looks.method.combine(self.logits(known), self._index)
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
        scores = process(self.combined().masked_fill(~self.plausible, _NEVER))
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

    def as_step(self, samples: list[int], scores: torch.Tensor, tokens: torch.Tensor) -> Step:
        """This look for an observer; every view must have been read."""
        everyone = range(len(self.original))
        logits = self.logits(everyone)
        return Step(self._index, samples, logits, self.plausible, scores, tokens)
