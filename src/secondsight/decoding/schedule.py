"""When the views beyond the original are read: with it, or only where they can matter.

All schedules give the same tokens; they differ in cost. A forward pass over one token is bound by
reading the weights, so several rows cost little more than one; but a view that is never needed
need not even look at its image.
"""

from __future__ import annotations

from typing import Final

from secondsight.errors import UnsupportedError, nearest

SCHEDULES: Final = ("auto", "joint", "lazy")

_WORTH_IT: Final = 0.15
"""Recent share of steps that needed the views, above which they ride along: about what one more
row adds to a forward pass."""

_MEMORY: Final = 0.9
"""How slowly that share forgets, per step."""


class Schedule:
    """Decides, step by step, whether the views ride along with the original.

    Args:
        name: ``joint``: always, from the first step on. ``lazy``: never, they catch up when
            needed. ``auto``: once they have been needed, for as long as they keep being needed.
        watched: Whether every view's logits are asked for at every step.

    Attributes:
        one_pass: Whether all views are read in one forward pass, prompts included.
        reads_everything: Whether every view is read at every step.

    Raises:
        UnsupportedError: No schedule has that name.
    """

    def __init__(self, name: str, *, watched: bool) -> None:
        if name not in SCHEDULES:
            raise UnsupportedError(f"No schedule is called {name!r}.{nearest(name, SCHEDULES)}")
        self.one_pass = name == "joint"
        self.reads_everything = self.one_pass or watched
        self._lazy = name == "lazy" and not watched
        self._needed = 0.5

    @property
    def together(self) -> bool:
        """Whether the views that are up to date ride along in this step."""
        return self.reads_everything or (not self._lazy and self._needed >= _WORTH_IT)

    def saw(self, share: float) -> None:
        """Take note of the share of samples whose outcome depended on the views."""
        self._needed = _MEMORY * self._needed + (1 - _MEMORY) * share
