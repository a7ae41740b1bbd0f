"""The log: one line per request, of sizes, times and statuses; never of what was said or shown."""

from __future__ import annotations

import logging
import traceback
from typing import Final

LOGGER: Final = logging.getLogger("secondsight.server")


def line(**facts: object) -> None:
    """Write one line of ``name=value`` pairs; what is None is left out."""
    said = (f"{name}={_short(value)}" for name, value in facts.items() if value is not None)
    LOGGER.info(" ".join(said))


def failure(request_id: str, error: BaseException) -> None:
    """Write where something failed: the kind of error and the lines it passed, not its message.

    A message may quote a client's question.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    LOGGER.error("id=%s failed with %s\n%s", request_id, type(error).__name__, frames)


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
