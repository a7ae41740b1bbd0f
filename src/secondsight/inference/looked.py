"""A sample as a method looked at it: every view's inputs, and what was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from secondsight.decoding.prefixes import Prefix
from secondsight.sample import Sample


@dataclass(frozen=True)
class Looked:
    """A sample, encoded in every view, and what was drawn for it.

    Attributes:
        sample: The sample, its image opened.
        seed: Of the tokens that are drawn for it.
        seen: The sample as each view sees it, the original first.
        views: The model inputs of each.
        prefixes: The beginning of each prompt that other questions may share.
        names: The views' names.
        drawn: What each view drew, in words.
        reply: What the model replied when the method asked it first.
        seconds: How long looking took.
    """

    sample: Sample
    seed: int
    seen: tuple[Sample, ...]
    views: tuple[dict[str, Any], ...]
    prefixes: tuple[Prefix | None, ...]
    names: tuple[str, ...]
    drawn: tuple[str | None, ...]
    reply: str | None
    seconds: float
