"""The decoding loop, its schedules, and random numbers that belong to a sample."""

from secondsight.decoding.loop import decode
from secondsight.decoding.observer import Observer, Step
from secondsight.decoding.schedule import SCHEDULES

__all__ = ["SCHEDULES", "Observer", "Step", "decode"]
