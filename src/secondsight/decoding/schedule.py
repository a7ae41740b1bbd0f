"""When the views beyond the original are read: with it, or only where they can matter.

All schedules give the same tokens; they differ in cost. A forward pass over one token is bound by
reading the weights, so several rows cost little more than one; but a view that is never needed
need not even look at its image.
"""

from __future__ import annotations

from typing import Final

from secondsight.decoding.cost import Cost
from secondsight.errors import UnsupportedError, nearest

SCHEDULES: Final = ("auto", "joint", "lazy")

_MEMORY: Final = 0.9
"""How slowly that share forgets, per step."""

_NEVER: Final = 1e-6
"""The least share of steps with a pass to catch up that is reckoned with."""


class Schedule:
    """Decides, step by step, whether the views ride along with the original.

    Args:
        name: ``joint``: always, from the first step on. ``lazy``: never, they catch up when
            needed. ``auto``: once they have been needed, wherever that is cheaper.
        cost: What the model's passes cost.
        watched: Whether every view's logits are asked for at every step.

    Attributes:
        one_pass: Whether all views are read in one forward pass, prompts included.
        reads_everything: Whether every view is read at every step.

    Raises:
        UnsupportedError: No schedule has that name.
    """

    def __init__(self, name: str, cost: Cost, *, watched: bool) -> None:
        if name not in SCHEDULES:
            raise UnsupportedError(f"No schedule is called {name!r}.{nearest(name, SCHEDULES)}")
        self.one_pass = name == "joint"
        self.reads_everything = self.one_pass or watched
        self._lazy = name == "lazy" and not watched
        self._cost = cost
        self._needed = 0.5

    def together(self, samples: int, others: int, positions: int) -> bool:
        """Whether the views that are up to date ride along in this step.

        They do where their rows cost less than catching up would: a pass of its own as soon as
        one sample needs it, which reads as many tokens, but many of them at once.

        Args:
            samples: How many samples are being written.
            others: How many views each has beyond the original.
            positions: What a row attends to.
        """
        if self.reads_everything or self._lazy:
            return self.reads_everything
        cost, rows = self._cost, samples * others
        ride = cost.for_tokens(samples + rows) - cost.for_tokens(samples)
        ride += cost.for_attention(rows, positions)
        passes = max(1 - (1 - self._needed) ** samples, _NEVER)
        catch_up = passes * (cost.for_pass + cost.for_tokens(rows / passes))
        catch_up += cost.for_attention(rows * self._needed, positions)
        return ride <= catch_up

    def saw(self, share: float) -> None:
        """Take note of the share of samples whose outcome depended on the views."""
        self._needed = _MEMORY * self._needed + (1 - _MEMORY) * share
