"""Measuring what decoding methods cost, on one's own hardware and model."""

from secondsight.profiling.measure import Measurement, Result, run
from secondsight.profiling.shapes import SHAPES, random_model

__all__ = ["SHAPES", "Measurement", "Result", "random_model", "run"]
