"""Checkpoints: finding, reading, checking and converting them, and the families they are of."""

from secondsight.installed import check

check()  # one line, rather than the first import that fails

from secondsight.checkpoints.loading import load

__all__ = ["load"]
