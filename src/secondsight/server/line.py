"""Places and the line before them: who is served, who waits, who is sent away."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from secondsight.server.problems import busy

_REMEMBERED = 0.8
"""How much of the average time per answer each new one leaves of the old."""


class Line:
    """Places that are given in the order of arrival. Used by one event loop.

    Args:
        places: How many answers are written at once.
        queue: How many more may wait.
    """

    def __init__(self, places: int, queue: int) -> None:
        self.places = places
        self.queue = queue
        self.expected = 0
        """Answers that were let in and have not ended: running, waiting, or not there yet."""
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._seconds = 1.0

    @property
    def waiting(self) -> int:
        """Answers that wait for a place."""
        return self.expected - self.running

    @property
    def wait(self) -> float:
        """How long a newcomer would wait, by the recent rate, in seconds."""
        return self._seconds * (self.waiting + 1) / self.places

    def join(self, count: int) -> None:
        """Let a request in that wants so many answers.

        Raises:
            ApiError: 429: the line has no room for all of them.
        """
        if self.expected + count > self.places + self.queue:
            raise busy(
                f"The server writes {self.places} answers at once and lets {self.queue} wait; "
                f"{count} more would be too many now. Try again later.",
                self.wait,
            )
        self.expected += count

    async def place(self) -> None:
        """Wait for a place."""
        if self.running < self.places and not self._waiting:
            self.running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was given at the same moment
                self.running -= 1
                self._next()
            else:
                with suppress(ValueError):
                    self._waiting.remove(turn)
            raise

    def leave(self, *, placed: bool, seconds: float | None = None) -> None:
        """An answer that was let in ended.

        Args:
            placed: Whether it had a place, which the next one gets.
            seconds: How long it took, if it was written to its end.
        """
        self.expected -= 1
        if placed:
            self.running -= 1
            self._next()
        if seconds is not None:
            self._seconds = _REMEMBERED * self._seconds + (1 - _REMEMBERED) * seconds

    def _next(self) -> None:
        while self._waiting and self.running < self.places:
            turn = self._waiting.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)


class Budget:
    """An amount of memory that requests share, in whatever unit, given in order of arrival.

    Args:
        total: How much there is.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int) -> None:
        """Wait until so much is free; more than all there is counts as all."""
        amount = min(amount, self.total)
        if not self._waiting and self.used + amount <= self.total:
            self.used += amount
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (amount, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(amount)
            else:
                with suppress(ValueError):
                    self._waiting.remove(entry)
                self._wake()
            raise

    def take_now(self, amount: int) -> bool:
        """Take so much if it is free; never waits."""
        if self._waiting or self.used + amount > self.total:
            return False
        self.used += amount
        return True

    def give(self, amount: int) -> None:
        """Give back what was taken."""
        self.used -= min(amount, self.total)
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self.used + self._waiting[0][0] <= self.total:
            amount, turn = self._waiting.popleft()
            if not turn.done():
                self.used += amount
                turn.set_result(None)
