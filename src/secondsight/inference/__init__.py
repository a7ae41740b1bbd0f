"""Answering: the model as one interface, what it prepares, and the pieces of a stream."""

from secondsight.inference.model import Model
from secondsight.inference.streaming import Stream

__all__ = ["Model", "Stream"]
