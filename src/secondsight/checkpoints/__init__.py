"""Checkpoints: finding, reading, checking and converting them, and the families they are of."""

from secondsight.checkpoints.loading import load

__all__ = ["load"]
