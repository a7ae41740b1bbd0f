"""Ctrl-C: exit code 130 at any moment, with a word; a second one at once.

While the program starts, while it ends, and while it imports, it is left on the spot: there is
nothing to put in order, or no way to. While a command runs, the first Ctrl-C is a
`KeyboardInterrupt`, so that what is open gets closed; a thread sees to it that the process ends
even where that is swallowed (in a callback), or where the main thread does not come back from C.
"""

# While files are imported before `start`, Ctrl-C ends in a traceback of Python's: so no typing, no
# contextlib, and of signal (which imports enum, types, collections, ...) the core alone.
import os
import sys

try:
    import _signal as signal  # type: ignore[import-not-found]
except ImportError:  # another Python
    import signal

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

EXIT_CODE = 130

GRACE_S = 5.0
"""How long an interrupted command may take to end."""

_WORD = b"Interrupted.\n"
_SHOW_CURSOR = b"\x1b[?25h"

_running: "RunningCommand | None" = None


def start() -> None:
    """Leave at once when Ctrl-C comes from now on; called before the long imports.

    A program that is started in the background to ignore Ctrl-C goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handle)


def leave() -> None:
    """End the process here and now."""
    try:
        os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + _WORD)
    finally:
        os._exit(EXIT_CODE)


class RunningCommand:
    """Lets the first Ctrl-C raise `KeyboardInterrupt`, and ends the process in any case.

    A context manager.

    Attributes:
        interrupted: Whether it came; an exception of another kind is then of its making.
    """

    interrupted = False
    _stop: "Callable[[], None] | None" = None

    def __enter__(self) -> "RunningCommand":
        global _running
        if signal.getsignal(signal.SIGINT) is _handle:  # not ignored, and not a test's process
            self._stop = _watch()
            _running = self
            sys.unraisablehook = self._say_nothing
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        trace: "TracebackType | None",
    ) -> None:
        global _running
        if _running is self:
            sys.unraisablehook = sys.__unraisablehook__
        _running = None
        if self._stop is not None and not self.interrupted:
            self._stop()

    def _say_nothing(self, what: "sys.UnraisableHookArgs") -> None:
        """Keep a Ctrl-C that a callback swallows from being reported with a traceback."""
        if not (self.interrupted and issubclass(what.exc_type, KeyboardInterrupt)):
            sys.__unraisablehook__(what)


def _handle(number: int, frame: "FrameType | None") -> None:
    if _running is None or _running.interrupted or _importing(frame):
        leave()
    else:
        _running.interrupted = True
        raise KeyboardInterrupt


def _importing(frame: "FrameType | None") -> bool:
    """Whether a module is being imported: an exception in a library's C++ may abort the process."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _watch() -> "Callable[[], None]":
    """Start the thread that ends an interrupted process, and return what calls it off."""
    import select
    import socket
    import threading
    import time

    reading, writing = socket.socketpair()  # a pipe cannot be waited for everywhere
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def interrupted(seconds: "float | None") -> bool:
        """Wait for a Ctrl-C, for so long; whether it came, or the time is up."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([reading], [], [], left)[0]:
                return True
            told = reading.recv(1)  # the signal's number; nothing where it is called off
            if not told or told[0] == signal.SIGINT:
                return bool(told)

    def watch() -> None:
        while interrupted(None):
            # A server, which ends in its own time, has put a handler of its own in place of ours.
            if signal.getsignal(signal.SIGINT) is _handle and interrupted(GRACE_S):
                leave()
        reading.close()

    def stop() -> None:
        signal.set_wakeup_fd(before)
        writing.close()

    threading.Thread(target=watch, name="secondsight-interrupts", daemon=True).start()
    return stop
