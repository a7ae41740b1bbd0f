"""The engine, its schedules, and random numbers that belong to a sample."""

from secondsight.installed import check

check()  # one line, rather than the first import that fails

from secondsight.decoding.loop import decode
from secondsight.decoding.schedule import SCHEDULES
from secondsight.decoding.step import Observer, Step

__all__ = ["SCHEDULES", "Observer", "Step", "decode"]
