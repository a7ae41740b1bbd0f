"""The report in a real browser: no complaints, tokens light up patches, works without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secondsight.trace import Trace
from secondsight.trace.formatting import percent
from support import chromium

pytestmark = pytest.mark.skipif(
    chromium.EXECUTABLE is None, reason="no chromium (apt-get install chromium)"
)

CANVAS = """(() => [...document.querySelectorAll('canvas[data-view]')].map((canvas) =>
    [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]
    .filter((_, place) => place % 4 === 3)))()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium.Chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def page(browser: Any, report: Path) -> Any:
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=1100, height=1000, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    browser.open(report)
    return browser


def darkness(path: Path) -> float:
    return float(np.asarray(Image.open(path).convert("L")).mean())


def test_no_complaints_and_no_requests(page: Any) -> None:
    assert page.evaluate("document.querySelectorAll('h2').length") == 9
    assert page.complaints() == []
    assert [url for url in page.requests() if not url.startswith(("file:", "data:"))] == []
    broken = "[...document.images].filter((image) => !image.naturalWidth).length"
    assert page.evaluate(broken) == 0


def test_hovering_a_token_lights_its_patches(page: Any, trace: Trace) -> None:
    token = next(token.index for token in trace.tokens if token.text.strip())
    page.hover(f"a.token[data-token='{token}']")
    drawn = page.evaluate(CANVAS)
    assert len(drawn) == 2
    for opacity, view in zip(drawn, trace.attention, strict=True):
        assert len(opacity) == 9
        assert int(np.argmin(opacity)) == view.strongest(token)  # clear where it looks most
    assert "% of attention" in page.evaluate("document.querySelector('.readout').textContent")
    detail = page.evaluate("document.getElementById('detail').textContent")
    for view in ("original", "transformed", "final"):
        assert view in detail
    assert percent(trace.tokens[token].probability) in detail
    assert page.complaints() == []


def test_layers_heads_and_average_can_be_chosen(page: Any, trace: Trace) -> None:
    page.hover("a.token")
    token = int(page.evaluate("document.querySelector('a.token').dataset.token"))

    def choose(name: str, value: str) -> None:
        page.evaluate(
            f"(() => {{ const e = document.getElementById('{name}'); e.value = '{value}';"
            "e.dispatchEvent(new Event('change')); })()"
        )

    choose("layer", "1")
    view = trace.attention[0]
    clearest = int(np.argmin(page.evaluate(CANVAS)[0]))
    assert clearest == int(view.layers.values[1, token].argmax())
    choose("head", "2")
    clearest = int(np.argmin(page.evaluate(CANVAS)[0]))
    assert clearest == int(view.heads[1].values[2, token].argmax())
    choose("layer", "rollout")
    assert view.rollout is not None
    assert int(np.argmin(page.evaluate(CANVAS)[0])) == int(view.rollout[token].argmax())
    page.evaluate("document.getElementById('relative').click()")
    assert page.complaints() == []


def test_search_and_copy(page: Any) -> None:
    page.evaluate(
        "(() => { const e = document.getElementById('search'); e.value = 'LlamaMLP.forward';"
        "e.dispatchEvent(new Event('input')); })()"
    )
    shown = "[...document.querySelectorAll('.calls li')].filter((e) => !e.hidden).length"
    assert 0 < page.evaluate(shown) < page.evaluate("document.querySelectorAll('.calls li').length")
    assert page.evaluate("document.getElementById('said').textContent").endswith("found")
    page.evaluate("document.getElementById('copy').click()")
    assert page.complaints() == []


def test_without_scripts_everything_is_there(browser: Any, report: Path, trace: Trace) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(report)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate("document.querySelectorAll('.card').length") == len(trace.tokens)
    assert browser.evaluate("document.querySelectorAll('.card figure img').length") == 2 * len(
        trace.tokens
    )
    hidden = "[...document.querySelectorAll('.needs-script')].every((e) => e.hidden)"
    assert browser.evaluate(hidden) is True


def test_light_dark_and_print(page: Any, tmp_path: Path) -> None:
    page.screenshot(tmp_path / "light.png")
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    page.call("Emulation.setEmulatedMedia", features=[scheme])
    page.screenshot(tmp_path / "dark.png")
    assert darkness(tmp_path / "light.png") > 180
    assert darkness(tmp_path / "dark.png") < 75
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=718, height=1047, deviceScaleFactor=1, mobile=False,  # A4 within its margins
    )  # fmt: skip
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") is True


def test_fits_a_telephone(page: Any) -> None:
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=380, height=800, deviceScaleFactor=1, mobile=True,
    )  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_a_screen_reader_finds_its_way(page: Any) -> None:
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node.get("role", {}).get("value") for node in nodes if not node.get("ignored")]
    for role in ("banner", "main", "navigation", "table", "figure", "heading"):
        assert role in roles
    nameless = [
        node
        for node in nodes
        if node.get("role", {}).get("value") in ("button", "combobox", "searchbox", "checkbox")
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map((e) => Number(e.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
