"""The record of one run, which writes itself as a report."""

from __future__ import annotations

from dataclasses import dataclass

from secondsight.trace import report
from secondsight.trace.data import TraceData


@dataclass(frozen=True)
class Trace(TraceData):
    """The record of one run: ``model.trace(image, question)``; its attributes are `TraceData`'s."""

    def to_markdown(self) -> str:
        """The record as Markdown, from what was loaded to each token; images are described."""
        return report.markdown(self)

    def to_html(self) -> str:
        """The record as one HTML file that needs nothing else."""
        return report.html(self)
