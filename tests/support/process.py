"""Programs started by tests, as from a shell in the foreground."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
"""Tests run side by side; a child that took every core would slow down the others."""


@contextmanager
def _default_signals() -> Iterator[None]:
    """A test run in the background ignores Ctrl-C, and whoever it starts would inherit that."""
    names = ("SIGINT", "SIGHUP", "SIGQUIT", "SIGTERM", "SIGPIPE")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ignored = [number for number in known if signal.getsignal(number) is signal.SIG_IGN]
    try:
        for number in ignored:
            signal.signal(number, signal.SIG_DFL)
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def start(command: Sequence[object], **options: Any) -> subprocess.Popen[str]:
    """Start a program with default signal handlers; its output is text, and piped.

    Args:
        command: The program and its arguments.
        options: For `subprocess.Popen`; ``env`` adds to the environment.
    """
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        **options,
        "env": {**os.environ, **ENVIRONMENT, **options.get("env", {})},
    }
    with _default_signals():
        return subprocess.Popen([str(part) for part in command], **options)


def run(command: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever that is; see `start`."""
    with start(command, **options) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
