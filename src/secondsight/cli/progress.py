"""How far a long run is: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from secondsight.cli.output import say, stderr

EVERY_S: Final = 60.0
"""How often a line is written where there is no terminal, in seconds."""

Advance = Callable[[int], None]
"""Called with how many more are done."""


class _Rate(ProgressColumn):
    """Answers per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2g}/s" if task.speed else "")


@contextmanager
def progress(
    total: int,
    done: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    note: Callable[[], str] = str,
) -> Iterator[Advance]:
    """Show on standard error how many of so many answers there are.

    Args:
        total: How many there will be.
        done: How many there are from before.
        clock: Seconds, from anywhere.
        note: What else is to be said at this moment.

    Yields:
        What is to be called with each more.
    """
    console = stderr()
    if not console.is_terminal:
        yield _Lines(total, done, clock, note)
        return
    columns = (
        TextColumn("answers"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, completed=done, note=note())
        yield lambda more: bar.update(task, advance=more, note=note())


class _Lines:
    """Says a line when one is due."""

    def __init__(
        self, total: int, done: int, clock: Callable[[], float], note: Callable[[], str]
    ) -> None:
        self.total, self.before, self.done = total, done, done
        self.clock, self.note = clock, note
        self.start = self.said = clock()

    def __call__(self, more: int) -> None:
        self.done += more
        now = self.clock()
        if now - self.said < EVERY_S or self.done >= self.total:
            return
        self.said = now
        text = f"{self.done} of {self.total} done"
        if self.done > self.before:
            rate = (self.done - self.before) / (now - self.start)
            left = _duration((self.total - self.done) / rate)
            text += f", {rate:.2g} a second, about {left} left"
        note = self.note()
        say(f"{text}; {note}" if note else text)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 4800 else f"{minutes / 1440:.0f} days"
