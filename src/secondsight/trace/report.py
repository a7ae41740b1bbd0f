"""The record as a page: HTML that needs nothing else, and Markdown with the same facts."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from secondsight.trace.drawing import data_uri, heat
from secondsight.trace.record import TokenFacts, Trace, ViewAttention, ViewFacts
from secondsight.trace.tensors import TensorFacts

_THUMBNAIL: Final = 128
_FULL_SHADE_BITS: Final = 6.0
"""Dependence on the image, in bits, from which a word has the full shade."""


def html(trace: Trace) -> str:
    """One HTML file that opens offline, with or without JavaScript."""
    return (
        _environment()
        .get_template("trace.html.j2")
        .render(
            trace=trace,
            thumbnails=_thumbnails(trace),
            overlays=[
                (place, view, _last_image(facts))
                for place, (view, facts) in enumerate(_shown_views(trace))
                if view.grid is not None
            ],
            data=_script_data(trace),
        )
    )


def markdown(trace: Trace) -> str:
    """The same facts as Markdown."""
    text = _environment().get_template("trace.md.j2").render(trace=trace)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("secondsight.trace"),
        autoescape=select_autoescape(["html", "html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "bits": bits,
        "signed": signed,
        "by_setting": by_setting,
        "size": size,
        "shape": shape,
        "corners": corners,
        "pretty": pretty,
        "cell": cell,
        "fenced": fenced,
        "visible": visible,
        "shade": shade,
        "hint": hint,
        "basename": basename,
        "drawn": drawn,
    }
    return environment


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


def drawn(views: Sequence[ViewFacts], name: str) -> str:
    """What a view drew, in words."""
    return next((view.drawn or "" for view in views if view.name == name), "")


def _shown_views(trace: Trace) -> list[tuple[ViewAttention, ViewFacts]]:
    """The views with attention, each with what it saw."""
    by_name = {view.name: view for view in trace.views}
    return [(view, by_name[view.view]) for view in trace.attention]


def _last_image(view: ViewFacts) -> str:
    """What the model saw, as a data URI."""
    return view.images[-1].uri if view.images else ""


def _thumbnails(trace: Trace) -> list[list[tuple[ViewAttention, str]]]:
    """For each token, each view's image lit where the token's attention was."""
    images: list[list[tuple[ViewAttention, str]]] = [[] for _ in trace.tokens]
    for attention, view in _shown_views(trace):
        if attention.grid is None:
            continue
        encoded = _last_image(view).partition(",")[2]
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as opened:
            base = opened.convert("RGB")
        for place, row in enumerate(attention.mean):
            lit = heat(base, row, attention.grid, side=_THUMBNAIL)
            images[place].append((attention, data_uri(lit, quality=60)))
    return images


def _script_data(trace: Trace) -> Markup:
    """What the page's script needs, as JSON that cannot close its element."""
    data = {
        "tokens": len(trace.tokens),
        "views": [view.to_dict() for view in trace.attention],
        "markdown": markdown(trace),
    }
    text = json.dumps(data, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
