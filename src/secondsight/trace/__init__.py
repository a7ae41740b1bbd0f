"""``secondsight trace``: what happens between an image and a token, recorded in one run."""

from secondsight.trace.recorder import Options, record
from secondsight.trace.result import Trace

__all__ = ["Options", "Trace", "record"]
