"""When the views beyond the original are read: with it, or only where they can matter.

All schedules give the same tokens; they differ in cost. A forward pass over one token is bound by
reading the weights, so several rows cost little more than one; but a view that is never needed
need not even look at its image.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as Many
from typing import Final

from secondsight.decoding.cost import Cost
from secondsight.decoding.rows import Pool
from secondsight.decoding.sequence import Hypothesis
from secondsight.errors import UnsupportedError, nearest, shown
from secondsight.methods import Method

SCHEDULES: Final = ("auto", "joint", "lazy")
"""When the views after the first are read: what is cheaper, at every step, as late as possible."""

_MEMORY: Final = 0.9
"""How slowly that share forgets, per step."""

_NEVER: Final = 1e-6
"""The least share of steps with a pass to catch up that is reckoned with."""


class Schedules:
    """Decides, step by step, for which sequences all views are read together with the base.

    Args:
        cost: What the model's passes cost.
    """

    def __init__(self, cost: Cost) -> None:
        self._cost = cost
        self._needed: dict[Method, float] = {}

    def reads_everything(self, sequence: Hypothesis) -> bool:
        """Whether every view of a sequence is read at every step."""
        return sequence.prepared.schedule == "joint" or sequence.watched

    def rides(self, sequence: Hypothesis, pool: Pool, running: Many[Hypothesis]) -> bool:
        """Whether a sequence's other views are read together with its base.

        They are where their rows cost less than catching up would: a pass of its own as soon as
        one sequence needs it, which reads as many tokens, but many of them at once.

        Args:
            sequence: The sequence, with more views than one.
            pool: The rows.
            running: All sequences of the step.
        """
        if sequence.prepared.schedule == "joint":
            return True
        others = sequence.rows[1:]
        if any(row.unread for row in others) or pool.behind(others) > 1:
            return False
        if sequence.watched:
            return True
        if sequence.prepared.schedule == "lazy":
            return False
        alike = sum(one.method == sequence.method for one in running)
        return self.pays(
            self._needed.get(sequence.method, 0.5), alike, len(others), pool.positions(others)
        )

    def pays(self, needed: float, samples: int, others: int, positions: int) -> bool:
        """Whether views that are up to date should be read with the base.

        Args:
            needed: The share of sequences whose outcome lately depended on them.
            samples: How many sequences of the method are running.
            others: How many views each has beyond the base.
            positions: What a row attends to.
        """
        cost, rows = self._cost, samples * others
        ride = cost.for_tokens(samples + rows) - cost.for_tokens(samples)
        ride += cost.for_attention(rows, positions)
        passes = max(1 - (1 - needed) ** samples, _NEVER)
        catch_up = passes * (cost.for_pass + cost.for_tokens(rows / passes))
        catch_up += cost.for_attention(rows * needed, positions)
        return ride <= catch_up

    def saw(self, sequences: Many[Hypothesis], needing: Collection[int]) -> None:
        """Take note of which sequences' outcomes depended on their views.

        Args:
            sequences: All sequences of the step.
            needing: The places of those.
        """
        counts: dict[Method, list[bool]] = {}
        for place, one in enumerate(sequences):
            if len(one.rows) > 1 and not self.reads_everything(one):
                counts.setdefault(one.method, []).append(place in needing)
        for method, needs in counts.items():
            before = self._needed.get(method, 0.5)
            share = sum(needs) / len(needs)
            self._needed[method] = _MEMORY * before + (1 - _MEMORY) * share


def check_schedule(name: str) -> str:
    """A schedule's name.

    Raises:
        UnsupportedError: No schedule has that name.
    """
    if name not in SCHEDULES:
        raise UnsupportedError(f"No schedule is called {shown(name)}.{nearest(name, SCHEDULES)}")
    return name
