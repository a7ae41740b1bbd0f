"""A worker's memory: the worker that holds too much ends, not the machine's other processes."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from secondsight.errors import UserError

GB: Final = 10**9

EATEN: Final = 77
"""The exit code of a worker that held too much."""

_EVERY_S: Final = 0.02
_OFFERED: Final = "500"
"""Of 1000: how far Linux prefers a process when it must end one because memory is out."""


def bytes_of(most: float | None) -> int | None:
    """A limit in GB as bytes.

    Raises:
        UserError: It is none.
    """
    if most is not None and not most > 0:
        raise UserError(f"A worker's memory must be above 0 GB, not {most:g}.")
    return None if most is None else int(most * GB)


def watch_memory(most: int | None) -> None:
    """End this process once it holds more memory of its own than it may; a thread looks.

    Where memory of the whole machine runs out, this process is offered to Linux.

    Args:
        most: Bytes, files that are mapped not counted; None for no limit.
    """
    with suppress(OSError):  # no Linux, or not allowed
        Path("/proc/self/oom_score_adj").write_text(_OFFERED)
    if most is not None:
        threading.Thread(target=_watch, args=(most,), daemon=True).start()


def _watch(most: int) -> None:
    process = psutil.Process()
    while True:
        held = process.memory_info()
        if held.rss - getattr(held, "shared", 0) > most:
            os._exit(EATEN)
        time.sleep(_EVERY_S)
