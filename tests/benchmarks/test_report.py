"""The report: legible at any width, in both themes, with nothing cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secondsight.benchmarks import YES_NO_METRICS, Item, Response, Task, YesNoScorer
from secondsight.benchmarks.chair import METRICS, ChairScorer
from secondsight.benchmarks.comparison import Comparison, compare
from secondsight.benchmarks.formatting import cells, columns, length_cells, length_columns
from secondsight.benchmarks.plots import plots
from secondsight.benchmarks.report import write_reports
from secondsight.objects.lexicon import coco_lexicon
from support import chromium

MANIFEST = {"config": {"model": "fake", "settings": {"temperature": 1.0}, "preset": "none"}}
METHODS = ("regular", "ritual:alpha=2", "m3id:variant=paper,gate=0.3", "greedy")


def yes_no(images: int = 40) -> Comparison:
    items = [
        Item(f"{n}-{q}", str(n), None, "?", {"label": "yes"}) for n in range(images) for q in (0, 1)
    ]
    task = Task("questions.jsonl", tuple(items), YesNoScorer(), YES_NO_METRICS)
    answers = {
        method: {0: [Response("yes" if n % (2 + place) else "no") for n in range(len(items))]}
        for place, method in enumerate(METHODS)
    }
    return compare("pope", task, items, answers, ("greedy",), resamples=99, warnings=("a note",))


def captions() -> Comparison:
    items = [Item(str(n), str(n), None, "?", {"present": ["dog"]}) for n in range(20)]
    task = Task("instances.json", tuple(items), ChairScorer(coco_lexicon()), METRICS)
    answers = {
        method: {0: [Response("A dog." if n % (2 + place) else "A cat.") for n in range(20)]}
        for place, method in enumerate(METHODS)
    }
    return compare("chair", task, items, answers, ("greedy",), resamples=99)


def test_the_verdict_stands_beside_the_method() -> None:
    found = yes_no()
    assert columns(found)[:3] == ["method", "verdict", "accuracy"]
    assert all(len(cells(row, found)) == len(columns(found)) for row in found.rows)
    assert cells(found.rows[1], found)[1].startswith(("better", "no better", "not disting"))


def test_captions_are_held_against_shorter_ones(tmp_path: Path) -> None:
    found = captions()
    assert found.lengths is not None
    table = [length_cells(row, found, found.lengths) for row in found.lengths.rows]
    assert {len(row) for row in table} == {len(length_columns(found, found.lengths))}
    # "A dog." and "A cat." have one length: nothing is cut, and all that is made up is left.
    assert [row[1] for row in table] == ["2.0"] * 4
    assert table[0][2:] == ["+0.0 [+0.0, +0.0]", "", "", ""]
    # Of twenty captions 10 and 7 name the cat, so CHAIRi falls and recall rises by 15 points.
    assert table[1][2].endswith("recalls more")
    for cell, start in zip(table[1][2:], ("-15.0 [", "-15.0 [", "-0.15 [", "-15.0 ["), strict=True):
        assert cell.startswith(start)
    assert "recall +15.0" in table[1][3]
    write_reports(tmp_path, found, "CHAIR", MANIFEST)
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "At equal recall and at equal length" in text
        assert all(cell.partition(" [")[0] in text for row in table for cell in row)
    write_reports(tmp_path, yes_no(), "POPE", MANIFEST)
    assert "equal length" not in (tmp_path / "report.md").read_text()


def test_plots_are_where_metrics_say_and_take_the_pages_colours() -> None:
    drawn = plots(captions())
    titles = [re.search("<dc:title>(.*?)</dc:title>", plot)[1] for plot in drawn]  # type: ignore[index]
    assert titles == ["CHAIRi against recall", "CHAIRi by method", "mean length by method"]
    for plot in drawn:
        assert "var(--method)" in plot
        assert "var(--control)" in plot
        assert "currentColor" in plot
        assert set(re.findall("#[0-9a-f]{6}", plot)) <= {"#ffffff"}
    assert len(plots(yes_no())) == 2


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium.Chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.skipif(chromium.EXECUTABLE is None, reason="no chromium (apt-get install chromium)")
@pytest.mark.parametrize("width", [1200, 500, 360])
@pytest.mark.parametrize("made", [yes_no, captions], ids=["questions", "captions"])
def test_nothing_is_cut_off(browser: Any, tmp_path: Path, made: Any, width: int) -> None:
    write_reports(tmp_path, made(), "POPE", MANIFEST)
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=1000, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    background = {}
    for theme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": theme}
        browser.call("Emulation.setEmulatedMedia", media="", features=[feature])
        browser.open(tmp_path / "report.html")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.querySelector('.wide').scrollWidth") <= width
        far = browser.evaluate(
            "Math.max(...[...document.querySelectorAll('td.verdict, figure')]"
            ".map((one) => one.getBoundingClientRect().right))"
        )
        assert far <= width
        smallest = browser.evaluate(
            "Math.min(...[...document.querySelectorAll('td, small, th')]"
            ".map((one) => parseFloat(getComputedStyle(one).fontSize)))"
        )
        assert smallest >= 10
        background[theme] = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert not browser.complaints()
        assert browser.requests() == [(tmp_path / "report.html").as_uri()]
    assert background["light"] != background["dark"]
