"""One engine for all callers of a model, whatever their threads.

There is no thread of its own: whoever waits for an answer makes the engine's steps, one caller at
a time, for everybody. So what a thread has set up for its calls (a profiler, a context manager)
holds for its answers too, and nothing goes on when nobody waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from secondsight.decoding.engine import Engine
from secondsight.decoding.sequence import Prepared, Update
from secondsight.decoding.sequence import Sequence as Running
from secondsight.decoding.step import Observer

Hear = Callable[[Update], None]
"""Told of what a step did to one sequence, by the thread that made the step; must not raise."""


class Runner:
    """Shares an engine.

    Args:
        engine: The engine; nobody else may use it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._changed = threading.Condition()
        self._stepping = False
        self._hear: dict[Running, Hear] = {}
        self._new: list[tuple[Handle, Prepared, Observer | None, Hear]] = []
        self._cancelled: list[Handle] = []

    def submit(self, prepared: Prepared, hear: Hear, observer: Observer | None = None) -> Handle:
        """Queue a request; it is written while somebody runs the engine.

        Args:
            prepared: The request.
            hear: Told of every update of it.
            observer: Told of every step of it.
        """
        handle = Handle()
        with self._changed:
            self._new.append((handle, prepared, observer, hear))
            self._changed.notify_all()
        return handle

    def cancel(self, handle: Handle) -> None:
        """End a request before the next pass; at once where nobody is making a step."""
        with self._changed:
            self._cancelled.append(handle)
            self._changed.notify_all()
            if self._stepping:
                return
            self._stepping = True
        self._leading(self._settle)

    def run_until(self, ready: Callable[[], bool]) -> None:
        """Make steps, or wait while another thread makes them, until something is so.

        Args:
            ready: Whether it is; asked between steps. While nothing is queued it is only asked
                when `submit`, `cancel` or `notify` is called.
        """
        while True:
            with self._changed:
                while not ready() and (self._stepping or self._idle):
                    self._changed.wait()
                if ready():
                    return
                self._stepping = True
            self._leading(self._step)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all callers from making steps: the model is this thread's meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._stepping)
            self._stepping = True
        try:
            yield
        finally:
            self._give_back()

    def notify(self) -> None:
        """Let those who wait ask again whether what they wait for is so."""
        with self._changed:
            self._changed.notify_all()

    @property
    def _idle(self) -> bool:
        return not self._new and not self._cancelled and self.engine.idle

    def _leading(self, work: Callable[[], None]) -> None:
        """Do something with the engine, which this thread has taken, and give it back."""
        try:
            work()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        with self._changed:
            self._stepping = False
            self._changed.notify_all()

    def _step(self) -> None:
        self._hand_over()
        try:
            updates = self.engine.step()
        except Exception as error:
            updates = self.engine.recover(error)
        except BaseException:  # the user's own Ctrl-C: the others' answers start again
            self.engine.restart()
            raise
        self._tell(updates)

    def _settle(self) -> None:
        self._hand_over()
        self._tell(self.engine.release_cancelled())

    def _hand_over(self) -> None:
        """Give the engine what was submitted and cancelled since the last step."""
        with self._changed:
            new, self._new = self._new, []
            cancelled, self._cancelled = self._cancelled, []
        for handle, prepared, observer, hear in new:
            handle.sequence = self.engine.add(prepared, observer=observer)
            self._hear[handle.sequence] = hear
        for handle in cancelled:
            if handle.sequence is not None:
                self.engine.cancel(handle.sequence)

    def _tell(self, updates: Sequence[Update]) -> None:
        for update in updates:
            ended = update.finished is not None or update.sequence.error is not None
            hear = self._hear.pop(update.sequence) if ended else self._hear[update.sequence]
            hear(update)


class Handle:
    """A queued request."""

    sequence: Running | None = None
