"""Named protocols: the details in which papers differ and which move the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from secondsight.errors import UserError, nearest


@dataclass(frozen=True)
class Preset:
    """One protocol.

    Attributes:
        name: The protocol's name.
        template: Name of the conversation template.
        pad: Whether images are padded to a square before they are resized.
        question_suffixes: What is appended to a benchmark's questions, by benchmark.
        pope_parser: How yes and no are read from POPE answers.
    """

    name: str
    template: str = "llava_v1"
    pad: bool = True
    question_suffixes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pope_parser: str = "strict"

    def question(self, text: str, benchmark: str) -> str:
        """A benchmark's question as this protocol asks it."""
        return text + self.question_suffixes.get(benchmark, "")


_ONE_WORD = "\nAnswer the question using a single word or phrase."

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                "llava-official",
                question_suffixes=MappingProxyType({"pope": _ONE_WORD, "mme": _ONE_WORD}),
            ),
            Preset("ritual-2024", pad=False, pope_parser="ritual-2024"),
            Preset(
                "vcd-2023",
                question_suffixes=MappingProxyType(
                    {"pope": " Please answer this question with one word."}
                ),
                pope_parser="vcd-2023",
            ),
        )
    }
)
"""The protocols by name; the values are those of the papers' public code."""


def preset(name: str | Preset) -> Preset:
    """Look a protocol up.

    Raises:
        UserError: No protocol has that name.
    """
    if isinstance(name, Preset):
        return name
    try:
        return PRESETS[name]
    except KeyError:
        raise UserError(f"No preset is called {name!r}.{nearest(name, PRESETS)}") from None
