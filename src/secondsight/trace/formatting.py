"""How numbers, tensors and texts of a record are written in its reports."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from secondsight.trace.facts import ViewFacts
from secondsight.trace.tensors import TensorFacts
from secondsight.trace.token_facts import TokenFacts

_FULL_SHADE_BITS: Final = 6.0
"""Dependence on the image, in bits, from which a word has the full shade."""


def number(value: float | None) -> str:
    """Four significant digits; a dash for what is not known."""
    return "-" if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A probability in percent, small ones not rounded to nothing."""
    if value is None:
        return "-"
    hundred = 100 * value
    if hundred >= 0.05 or hundred == 0:
        return f"{hundred:.1f}%" if hundred else "0%"
    return f"{hundred:.2f}%" if hundred >= 0.005 else "<0.01%"


def bits(value: float) -> str:
    """A divergence; what is next to none is not spelt out."""
    return f"{value:.3f}" if value >= 0.0005 else "<0.001" if value > 0 else "0"


def signed(value: float | None, digits: int = 1) -> str:
    """A number with its sign, nothing having none; a dash for what is not known."""
    if value is None:
        return "-"
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def by_setting(
    stages: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, list[tuple[Any, bool]]]]:
    """Every setting with its value in each stage, and whether the stage changed it."""
    rows = []
    for name in dict.fromkeys(name for stage in stages.values() for name in stage):
        values = [stage.get(name) for stage in stages.values()]
        changed = [False, *(now != before for before, now in pairwise(values))]
        rows.append((name, list(zip(values, changed, strict=True))))
    return rows


def size(count: int) -> str:
    """Bytes as people read them."""
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def shape(facts: TensorFacts) -> str:
    """``(1, 576, 1024) float32``."""
    return f"({', '.join(map(str, facts.shape))}) {facts.dtype}"


def corners(facts: TensorFacts) -> str:
    """The values in a tensor's corners, as torch prints them."""
    wide = len(facts.shape) > 0 and facts.shape[-1] > 6
    tall = len(facts.shape) > 1 and facts.shape[-2] > 6

    def row(values: Any) -> str:
        shown = [f"{value:9.4f}" if isinstance(value, float) else str(value) for value in values]
        return "[" + ", ".join([*shown[:3], "  ...", *shown[3:]] if wide else shown) + "]"

    def matrix(rows: Any, indent: int) -> str:
        lines = [row(values) for values in rows]
        if tall:
            lines.insert(3, "...,")
        return "[" + ("\n" + " " * (indent + 1)).join(lines) + "]"

    values = facts.corners
    if not values:
        return ""
    if not isinstance(values[0], tuple | list):
        return row(values)
    if not isinstance(values[0][0], tuple | list):
        return matrix(values, 0)
    return "\n\n".join(matrix(channel, 0) for channel in values)


def pretty(value: Any) -> str:
    """Plain data as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def visible(text: str) -> str:
    """A token's text with blanks and line breaks that can be seen."""
    if not text:
        return "∅"
    shown = text.replace("\n", "↵").replace("\t", "⇥")
    stripped = shown.strip(" ")
    if not stripped:
        return "␣" * len(shown)
    lead, trail = len(shown) - len(shown.lstrip(" ")), len(shown) - len(shown.rstrip(" "))
    return "␣" * lead + stripped + "␣" * trail


def cell(text: Any) -> str:
    """Text for a cell of a Markdown table: nothing in it ends the cell or starts markup."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", str(text))
    return escaped.replace("\n", "↵")


def fenced(text: Any, kind: str = "") -> str:
    """Text in a Markdown fence longer than any in it."""
    shown = str(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{shown}\n{fence}"


def shade(bits: float | None) -> float:
    """How strongly a word is shaded, 0 to 1."""
    return 0.0 if bits is None else round(min(abs(bits) / _FULL_SHADE_BITS, 1.0), 3)


def hint(token: TokenFacts) -> str:
    """What a token's tooltip says."""
    parts = [f"{percent(token.probability)} in the final distribution"]
    if token.dependence is not None:
        parts.append(f"{percent(token.without_image)} without the image")
    if token.changed:
        parts.append(f"regular would say {visible(token.regular_text)}")
    return ", ".join(parts)


def basename(name: str) -> str:
    """The last part of a path; a hub id stays whole."""
    return name if name.count("/") <= 1 else name.rstrip("/").rpartition("/")[2]


def choice(views: Sequence[ViewFacts], name: str) -> str:
    """What a view drew, in words."""
    return next((view.choice or "" for view in views if view.name == name), "")
