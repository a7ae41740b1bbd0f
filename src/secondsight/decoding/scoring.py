"""One step of the running sequences: which views are read, and the scores they combine to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from collections.abc import Sequence as Many
from typing import Any, Final, cast

import torch
from transformers.utils import ModelOutput

from secondsight.decoding.exits import read_exits
from secondsight.decoding.rows import Pool, PoolRows, Row
from secondsight.decoding.schedule import Schedules
from secondsight.decoding.sequence import Hypothesis
from secondsight.decoding.soundness import unsound
from secondsight.errors import MethodError, UserError
from secondsight.methods.base import Method
from secondsight.methods.exits import Early, ReadsExits
from secondsight.methods.returned import checked_scores

_NEVER: Final = float("-inf")
_LEAST: Final = torch.finfo(torch.float32).min
"""What some processors write for no chance; others turn a row without any into NaN."""


Process = Callable[[torch.Tensor], torch.Tensor]
"""Applies logits processors and warpers to the scores of all sequences."""


class Scoring:
    """Reads the views of one step, as many of them as can change an outcome.

    Args:
        pool: The model's rows.
        sequences: The running sequences.
        schedules: When the views beyond the base are read.
        options: Passed to the forward pass, such as ``output_attentions``.

    Attributes:
        sequences: The sequences, whose places all tensors here go by.
        base: The base views' raw logits, float32 of shape (sequences, vocabulary).
        unsound: By place, what is wrong with a sequence whose scores are no numbers.
        plausible: Which tokens have a chance, bool of that shape, or None for all of all.
        output: The model's output of the pass that read the base views.
    """

    def __init__(
        self,
        pool: Pool,
        sequences: Many[Hypothesis],
        schedules: Schedules,
        options: dict[str, bool],
    ) -> None:
        self.sequences = sequences
        self._pool = pool
        self._others: dict[int, torch.Tensor] = {}
        self._needing: set[int] = set()
        riding = [
            place
            for place, one in enumerate(sequences)
            if len(one.rows) > 1 and not one.waits and schedules.rides(one, pool, sequences)
        ]
        rows = [one.rows[0] for one in sequences] + self._rows_beyond(riding)
        logits, output = self._read(rows, options)
        self.output: ModelOutput = output
        self.base = logits[: len(sequences)]
        self.unsound = unsound(pool, [one.rows[0] for one in sequences], self.base)
        self._note(riding, logits[len(sequences) :])
        self._limited = [True] * len(sequences)
        self.plausible = self._plausible()
        self._read_where_it_matters(schedules)

    def _rows_beyond(self, places: Iterable[int]) -> list[Row]:
        return [row for place in places for row in self.sequences[place].rows[1:]]

    def _read(self, rows: Many[Row], options: dict[str, bool]) -> tuple[torch.Tensor, ModelOutput]:
        """Read rows by their place in the cache, where neighbours are read without a copy."""
        order = sorted(range(len(rows)), key=lambda place: rows[place].index)
        logits, output = self._pool.read([rows[place] for place in order], **options)
        if order == list(range(len(rows))):
            return logits, output
        back = sorted(range(len(rows)), key=order.__getitem__)
        return logits[back], output

    def _note(self, places: Many[int], logits: torch.Tensor) -> None:
        """Keep the logits of the views beyond the base, one sequence's after another's."""
        sizes = [len(self.sequences[place].rows) - 1 for place in places]
        self._others.update(zip(places, logits.split(sizes), strict=True) if places else ())

    def _plausible(self) -> torch.Tensor | None:
        """Ask each method about its sequences."""
        found: torch.Tensor | None = None
        for places in self._alike(range(len(self.sequences)), lambda one: one.method):
            mask = self.sequences[places[0]].method.plausible(self.base[places])
            for place in places:
                self._limited[place] = mask is not None
            if mask is not None and len(places) == len(self.sequences):
                return mask
            if mask is not None:
                if found is None:
                    found = torch.ones_like(self.base, dtype=torch.bool)
                found[places] = mask
        return found

    def limits(self, place: int) -> torch.Tensor | None:
        """Which tokens of a sequence are plausible; None where its method lets all be."""
        limited = self.plausible is not None and self._limited[place]
        return self.plausible[place] if limited and self.plausible is not None else None

    def _read_where_it_matters(self, schedules: Schedules) -> None:
        optional = [place for place, one in enumerate(self.sequences) if one.optional]
        asked = [
            place for place in optional if not schedules.reads_everything(self.sequences[place])
        ]
        needing = set(optional) - set(asked)
        for places in self._alike(asked, lambda one: (one.method, len(one.ids))):
            one = self.sequences[places[0]]
            limited = self.plausible is not None and self._limited[places[0]]
            mask = self.plausible[places] if limited and self.plausible is not None else None
            needs = one.method.needs_views(self.base[places], mask, len(one.ids)).tolist()
            needing |= {place for place, need in zip(places, needs, strict=True) if need}
        schedules.saw(self.sequences, needing)
        self.read_views(sorted(needing))

    def read_views(self, places: Many[int]) -> None:
        """Read the views beyond the base of some sequences, unless that has been done."""
        self._needing.update(places)
        missing = [
            place
            for place in places
            if place not in self._others and len(self.sequences[place].rows) > 1
        ]
        if missing:
            self._note(missing, self._read(self._rows_beyond(missing), {})[0])

    def overflowed(self) -> list[int]:
        """The places of sequences of which a view's logits are not finite, noticed or not."""
        others = list(self._others.values())
        if not others or bool(torch.cat(others).amax(dim=-1).isfinite().all()):
            return list(self.unsound)
        found = (place for place, one in self._others.items() if not _finite(one))
        return [*self.unsound, *found]

    def logits(self, place: int) -> torch.Tensor:
        """All views' raw logits of a sequence whose views were read, (views, vocabulary)."""
        base = self.base[place : place + 1]
        return torch.cat([base, self._others[place]]) if place in self._others else base

    def combined(self) -> torch.Tensor:
        """Scores before plausibility, of the base's logits alone where nothing else can matter."""
        combined = self.base.clone()
        known = [
            place
            for place, one in enumerate(self.sequences)
            if not one.optional or place in self._needing or place in self._others
        ]
        for places in self._alike(known, lambda one: (one.method, len(one.ids), len(one.rows))):
            combined[places] = self._combined(places, self.base[places])
        rest = [place for place in range(len(self.sequences)) if place not in set(known)]
        for places in self._alike(rest, lambda one: (one.method, len(one.ids))):
            one = self.sequences[places[0]]
            if type(one.method).alone is not Method.alone:
                combined[places] = one.method.alone(self.base[places], len(one.ids))
        return combined

    def _combined(self, places: Many[int], base: torch.Tensor) -> torch.Tensor:
        """What the method of some sequences makes of base logits and all else that was read."""
        one = self.sequences[places[0]]
        logits = base.unsqueeze(0)
        if len(one.rows) > 1:
            others = [self._others[place] for place in places]
            logits = torch.cat([logits, torch.stack(others, dim=1)])
        if one.prepared.exits is None:
            scores = one.method.combine(logits, len(one.ids))
        else:
            method = cast(ReadsExits, one.method)
            scores = method.combine(logits, len(one.ids), early=self._early(places))
        return checked_scores(one.method, scores, base.shape)

    def _early(self, places: Many[int]) -> Early:
        """What the exits of some sequences of one method say."""
        rows = [self.sequences[place].rows[0] for place in places]
        exits = [row.exits for row in rows if row.exits is not None]
        return read_exits(self._pool.model, exits, PoolRows(self._pool, rows))

    def explain(self, places: Iterable[int]) -> None:
        """Say in `unsound` why the scores of some sequences are not numbers, though the base is."""
        for place in places:
            self.unsound.setdefault(place, self._unsound_scores(place))

    def _unsound_scores(self, place: int) -> UserError:
        one = self.sequences[place]
        sound = self.logits(place).amax(dim=-1).isfinite().tolist()
        if not all(sound):
            which = ", ".join(str(number) for number, is_so in enumerate(sound) if not is_so)
            return UserError(
                f"The model's scores for view {which} of {one.method.name} are not finite numbers. "
                "A half-precision model that overflows is sound in bfloat16 or float32: load it "
                "with another dtype."
            )
        return MethodError(
            f"{one.method.name}: its scores at token {len(one.ids)} are not numbers (NaN), though "
            "the model's are."
        )

    def facts(self, place: int) -> Mapping[str, Any]:
        """What a sequence's method, and the changes it makes inside, decided besides its scores."""
        one = self.sequences[place]
        early = None if one.prepared.exits is None else self._early([place])
        found = dict(one.method.facts(self.logits(place).unsqueeze(1), len(one.ids), early=early))
        for row in one.rows:
            if row.changes is not None:
                found.update(row.changes.facts(len(one.ids)))
        return found

    def scores(self, process: Process) -> torch.Tensor:
        """The final scores.

        Where the logits processors ban every plausible token (a minimum length when only the
        end is plausible, say), plausibility is judged anew among the tokens that they allow.

        Args:
            process: Applies the logits processors and warpers.

        Returns:
            float32 of shape (sequences, vocabulary).
        """
        if self.plausible is None:
            return process(self.combined())
        masked = self.combined().masked_fill_(~self.plausible, _NEVER)
        scores = process(masked)
        alive = (scores > _LEAST).any(dim=-1)
        if bool(alive.all()):
            return scores
        dead = [place for place in (~alive).nonzero()[:, 0].tolist() if self._limited[place]]
        self.read_views(dead)
        allowed = process(self.base.clone()) > _LEAST
        combined = self.combined()
        for place in dead:
            fitting = allowed[place : place + 1]
            base = self.base[place : place + 1].masked_fill(~fitting, _NEVER)
            one = self.sequences[place]
            if one.prepared.exits is not None:  # which go by the base's distribution
                combined[place] = self._combined([place], base)[0]
            second = one.method.plausible(base)
            chance = fitting if second is None else second & fitting
            combined[place : place + 1].masked_fill_(~chance, _NEVER)
        rescored = process(combined)
        scores[dead] = rescored[dead]
        return scores

    def _alike(
        self, places: Iterable[int], key: Callable[[Hypothesis], Hashable]
    ) -> list[list[int]]:
        """Places grouped by something of their sequences; usually one group of all."""
        groups: dict[Hashable, list[int]] = {}
        for place in places:
            groups.setdefault(key(self.sequences[place]), []).append(place)
        return list(groups.values())


def _finite(logits: torch.Tensor) -> bool:
    return bool(logits.amax(dim=-1).isfinite().all())
