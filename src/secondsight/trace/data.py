"""Everything that is recorded of one run, as data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from secondsight.answer import Answer
from secondsight.trace.facts import (
    ConfigFacts,
    GenerationFacts,
    InferenceFacts,
    OutputFacts,
    Phase,
    ViewFacts,
)
from secondsight.trace.maps import Maps, ViewAttention
from secondsight.trace.token_facts import LensLayer, TokenFacts, Word


@dataclass(frozen=True)
class TraceData:
    """The record of one run.

    Attributes:
        answer: The answer, with its provenance; the same one that `Model.answer` gives.
        config: What was loaded.
        inference: From the question to the model's inputs.
        generation: How the answer was generated.
        flow: The calls that the data made, by phase.
        output: What `generate` returned.
        tokens: Why each token was written.
        words: The answer by words.
        views: What each view saw.
        attention: Attention to the patches by view; empty if it was not asked for.
        lens: For each token, what each layer would have said; empty if not asked for.
        notes: What could not be recorded for this model, in words.
        seconds: How long each stage of the trace took.
        kept: Names and shapes of the tensors that were kept whole.
    """

    answer: Answer
    config: ConfigFacts
    inference: InferenceFacts
    generation: GenerationFacts
    flow: tuple[Phase, ...]
    output: OutputFacts
    tokens: tuple[TokenFacts, ...]
    words: tuple[Word, ...]
    views: tuple[ViewFacts, ...]
    attention: tuple[ViewAttention, ...]
    lens: tuple[tuple[LensLayer, ...], ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    kept: Mapping[str, tuple[int, ...]]

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data, ready for JSON."""
        return dict(self._plain)

    def to_json(self, *, indent: int | None = None) -> str:
        """The record as JSON."""
        return json.dumps(self._plain, ensure_ascii=False, indent=indent, allow_nan=False)

    @cached_property
    def _plain(self) -> dict[str, Any]:
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
    """Dataclasses, mappings and tuples as what JSON knows."""
    if isinstance(value, Maps | ViewAttention):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
