"""The record as a page: HTML that needs nothing else, and Markdown with the same facts."""

from __future__ import annotations

import base64
import io
import json
import re
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from secondsight.trace import formatting
from secondsight.trace.data import TraceData
from secondsight.trace.facts import ViewFacts
from secondsight.trace.maps import ViewAttention
from secondsight.trace.report_images import data_uri, heat

_THUMBNAIL: Final = 128


def html(trace: TraceData) -> str:
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


def markdown(trace: TraceData) -> str:
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
        "number": formatting.number,
        "percent": formatting.percent,
        "bits": formatting.bits,
        "signed": formatting.signed,
        "by_setting": formatting.by_setting,
        "size": formatting.size,
        "shape": formatting.shape,
        "corners": formatting.corners,
        "pretty": formatting.pretty,
        "cell": formatting.cell,
        "fenced": formatting.fenced,
        "visible": formatting.visible,
        "shade": formatting.shade,
        "hint": formatting.hint,
        "basename": formatting.basename,
        "choice": formatting.choice,
    }
    return environment


def _shown_views(trace: TraceData) -> list[tuple[ViewAttention, ViewFacts]]:
    """The views with attention, each with what it saw."""
    by_name = {view.name: view for view in trace.views}
    return [(view, by_name[view.view]) for view in trace.attention]


def _last_image(view: ViewFacts) -> str:
    """What the model saw, as a data URI."""
    return view.images[-1].uri if view.images else ""


def _thumbnails(trace: TraceData) -> list[list[tuple[ViewAttention, str]]]:
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


def _script_data(trace: TraceData) -> Markup:
    """What the page's script needs, as JSON that cannot close its element."""
    data = {
        "tokens": len(trace.tokens),
        "views": [view.to_dict() for view in trace.attention],
        "markdown": markdown(trace),
    }
    text = json.dumps(data, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
