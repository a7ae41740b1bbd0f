"""The record as a page: HTML that needs nothing else, and Markdown with the same facts."""

from __future__ import annotations

import base64
import io
import json
import re
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
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
            chosen=_chosen_tokens(trace),
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
        base = _opened(_last_image(view))
        for place, row in enumerate(attention.mean):
            images[place].append((attention, _lit(base, row, attention.grid)))
    return images


def _chosen_tokens(trace: TraceData) -> list[list[tuple[str, str]]]:
    """For each token, the image lit at the image tokens that the method has chosen, by their name.

    Only where the image tokens are the patches of one image, one by one.
    """
    views = _shown_views(trace)
    grid = views[0][0].grid if views else None
    spliced = trace.inference.splicing
    if grid is None or len(spliced.slots) != 1 or spliced.features != grid[0] * grid[1]:
        return [[] for _ in trace.tokens]
    base = _opened(_last_image(views[0][1]))
    found = []
    for token in trace.tokens:
        named = {name: value for name, value in token.facts.items() if name.endswith("_tokens")}
        drawn = []
        for name, places in named.items():
            lit = np.zeros(grid[0] * grid[1], np.float32)
            lit[np.asarray(places, np.int64)] = 1
            drawn.append((name.replace("_", " "), _lit(base, lit, grid)))
        found.append(drawn)
    return found


def _lit(base: Image.Image, values: npt.NDArray[np.float32], grid: tuple[int, int]) -> str:
    return data_uri(heat(base, values, grid, side=_THUMBNAIL), quality=60)


def _opened(uri: str) -> Image.Image:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as opened:
        return opened.convert("RGB")


def _script_data(trace: TraceData) -> Markup:
    """What the page's script needs, as JSON that cannot close its element."""
    data = {
        "tokens": len(trace.tokens),
        "views": [view.to_dict() for view in trace.attention],
        "markdown": markdown(trace),
    }
    text = json.dumps(data, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
