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
        benchmark_options: Options of benchmarks that are left open, by benchmark, such as how
            yes and no are read.
    """

    name: str
    template: str = "llava_v1"
    pad: bool = True
    question_suffixes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    benchmark_options: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def question(self, text: str, benchmark: str) -> str:
        """A benchmark's question as this protocol asks it."""
        return text + self.question_suffixes.get(benchmark, "")

    def options(self, benchmark: str) -> Mapping[str, str]:
        """Values for options of a benchmark that are left open."""
        return self.benchmark_options.get(benchmark, {})


def _pope(parser: str) -> Mapping[str, Mapping[str, str]]:
    return MappingProxyType({"pope": MappingProxyType({"parser": parser})})


_ONE_WORD = "\nAnswer the question using a single word or phrase."

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                "llava-official",
                question_suffixes=MappingProxyType({"pope": _ONE_WORD, "mme": _ONE_WORD}),
            ),
            Preset("ritual-2024", pad=False, benchmark_options=_pope("ritual-2024")),
            Preset(
                "vcd-2023",
                question_suffixes=MappingProxyType(
                    {"pope": " Please answer this question with one word."}
                ),
                benchmark_options=_pope("vcd-2023"),
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
