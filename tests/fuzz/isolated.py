"""Running one trial in a child process, within limits of time and memory."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from secondsight.errors import UserError


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        kind: ``answered``, ``refused`` (a `UserError`), ``traceback`` (any other), or ``killed``
            (time, memory or a crash).
        text: What was answered or said; the last line of a traceback.
        place: For a traceback: where it was raised.
        seconds: How long it took.
        memory: How much it took at most beyond its parent, in bytes.
    """

    kind: str
    text: str
    place: str = ""
    seconds: float = 0.0
    memory: int = 0


def isolated(trial: Callable[[], Any], *, seconds: float = 60, memory: int = 6 * 2**30) -> Outcome:
    """Run a trial in a forked child.

    Args:
        trial: Returns the answer as data.
        seconds: After so many the child is killed.
        memory: How many more bytes of addresses it may take than its parent has.
    """
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _limit(seconds, memory)
        with os.fdopen(writing, "w") as pipe:
            json.dump(_tried(trial), pipe)
            pipe.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status, used = os.wait4(child, 0)
    took = time.monotonic() - started
    grown = used.ru_maxrss * 1024 - _own_peak()
    if not said:
        return Outcome("killed", f"signal {os.WTERMSIG(status)}", seconds=took, memory=grown)
    return Outcome(**json.loads(said), seconds=took, memory=grown)


def _limit(seconds: float, memory: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with open("/proc/self/statm") as file:  # noqa: PTH123
        have = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (have + memory, have + memory))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _tried(trial: Callable[[], Any]) -> dict[str, str]:
    try:
        return {"kind": "answered", "text": json.dumps(trial())}
    except UserError as error:
        return {"kind": "refused", "text": str(error)}
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/secondsight/" in frame.filename]
        at = (own or frames)[-1]
        place = f"{at.filename.rpartition('/secondsight/')[2]}:{at.lineno}"
        return {"kind": "traceback", "text": f"{type(error).__name__}: {error}", "place": place}


def _own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
