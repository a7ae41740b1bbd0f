"""How far a bulk run is: all of it, every worker, and what failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from secondsight.cli.output import say
from secondsight.cli.progress import EVERY_S, Advance, progress

if TYPE_CHECKING:
    from secondsight.bulk import Summary
    from secondsight.bulk.workers import Event

KINDS: Final = 5
"""Kinds of failures that are named; the rest is counted."""

_WORKERS: Final = 8
"""Workers that are told one by one; of more, the slowest and the fastest."""


class Shown:
    """Progress on standard error: a bar on a terminal, a line a minute elsewhere.

    Args:
        clock: Seconds, from anywhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bar: AbstractContextManager[Advance] | None = None
        self._advance: Advance = lambda more: None
        self._summary: Summary | None = None
        self._began: dict[int, float] = {}
        self._warned = False
        self._closed = threading.Event()

    def __call__(self, event: Event, summary: Summary) -> None:
        """Show what happened; see `secondsight.bulk.run.Watch`."""
        from secondsight.bulk.workers import Died, Done, Started

        self._summary = summary
        if isinstance(event, Started):
            self._began.setdefault(event.worker, self._clock())
            self._warn(summary)
            if self._bar is None:
                note = self.note
                self._bar = progress(summary.rows, summary.before, clock=self._clock, note=note)
                self._advance = self._bar.__enter__()
                threading.Thread(target=self._tick, daemon=True).start()
        elif isinstance(event, Done):
            self._advance(event.rows)
        elif isinstance(event, Died):
            say(f"A worker ended ({event.why}) over shard {event.shard}; another goes on.")

    def close(self) -> None:
        """Take the progress away."""
        self._closed.set()
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.__exit__(None, None, None)

    def note(self) -> str:
        """What failed, and how fast each worker is."""
        if self._summary is None:
            return ""
        return "; ".join(filter(None, (failures(self._summary), self._rates(self._summary))))

    def _tick(self) -> None:
        while not self._closed.wait(EVERY_S):
            self._advance(0)  # a line is due, though nothing may have been finished

    def _rates(self, summary: Summary) -> str:
        now = self._clock()
        rates = {
            worker: summary.by_worker[worker] / (now - began) if now > began else 0.0
            for worker, began in sorted(self._began.items())
        }
        if len(rates) < 2:
            return ""
        if len(rates) <= _WORKERS:
            each = ", ".join(f"{worker}: {rate:.2g}" for worker, rate in rates.items())
            return f"a second by worker {each}"
        slowest, fastest = (pick(rates, key=rates.__getitem__) for pick in (min, max))
        return (
            f"a second by {len(rates)} workers {rates[slowest]:.2g} ({slowest}) to "
            f"{rates[fastest]:.2g} ({fastest})"
        )

    def _warn(self, summary: Summary) -> None:
        if len(summary.devices) > 1 and not self._warned:
            from secondsight.bulk.run import ROUNDING

            self._warned = True
            say("Warning: " + ROUNDING.format(" and ".join(summary.devices)))


def failures(summary: Summary) -> str:
    """What failed, by kind: ``3 failed: 2 no image, 1 … is too large``; empty if nothing did."""
    named = summary.reasons.most_common(KINDS)
    rest = summary.failed - sum(count for _, count in named)
    kinds = [f"{count} {kind}" for kind, count in named] + [f"{rest} others"] * bool(rest)
    return f"{summary.failed} failed: {', '.join(kinds)}" if summary.failed else ""
