"""Checking an answer: what it states, how it is asked about, and how it is repaired."""

from secondsight.checking.calibration import Calibration, Calibrations, Signals, fit

__all__ = ["Calibration", "Calibrations", "Signals", "fit"]
