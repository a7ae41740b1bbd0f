"""Measuring what decoding methods cost, on one's own hardware and model."""

from secondsight.profiling.results import Measurement, Result
from secondsight.profiling.run import run
from secondsight.profiling.shapes import SHAPES, random_model

__all__ = ["SHAPES", "Measurement", "Result", "random_model", "run"]
