"""Models: loading them, and answering with them."""

from secondsight.models.loading import load
from secondsight.models.model import Model
from secondsight.models.streaming import Stream

__all__ = ["Model", "Stream", "load"]
