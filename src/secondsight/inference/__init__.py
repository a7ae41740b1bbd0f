"""Answering: requests are prepared, written by the engine, and read as answers."""

from secondsight.installed import check

check()  # one line, rather than the first import that fails

from secondsight.inference.model import Model
from secondsight.inference.stream import Stream
from secondsight.inference.ticket import Ticket

__all__ = ["Model", "Stream", "Ticket"]
