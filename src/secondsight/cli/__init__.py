"""The command line: one verb per file, thin over the public API."""

from secondsight.cli.main import main

__all__ = ["main"]
