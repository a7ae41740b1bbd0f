"""``secondsight trace``: what happens between an image and a token, recorded in one run."""

from secondsight.trace.record import Trace
from secondsight.trace.recorder import Options, record

__all__ = ["Options", "Trace", "record"]
