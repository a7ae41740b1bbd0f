"""The report's three forms: the same facts, escaped, self-contained, small enough."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import secondsight
from secondsight.files import write_text
from secondsight.trace import Trace
from secondsight.trace.attention import as_maps, fitting
from secondsight.trace.formatting import cell, fenced, percent, visible
from secondsight.trace.interpretation import MAP_BYTES
from secondsight.trace.maps import ViewAttention

VOID = {"meta", "img", "input", "link", "br", "hr"}


class Page(HTMLParser):
    """Reads a page, checking that elements nest; keeps ids, links and images."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.scripts = 0
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.stack.append(tag)
        self.scripts += tag == "script"
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.links.append(str(values["href"]))
        if tag == "img":
            self.images.append(values)
        assert not any(name.startswith("on") for name in values)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_html_is_well_formed_and_self_contained(trace: Trace) -> None:
    text = trace.to_html()
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert all(link[1:] in page.ids for link in page.links)
    assert all(link.startswith("#") for link in page.links)
    assert all(str(image["src"]).startswith("data:image/webp") for image in page.images)
    assert all(image["alt"] for image in page.images)
    assert not re.search(r"""(?:src|href)=["']?(?!data:|#)[a-z/]""", text)
    assert "@import" not in text
    assert "url(" not in text


def test_what_a_user_writes_is_text(trace: Trace) -> None:
    text = trace.to_html()
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; dog?" in text
    assert Page(text).scripts == 2
    markdown = trace.to_markdown()
    outside = re.sub(r"(`{3,}).*?\n\1", "", markdown, flags=re.DOTALL)
    assert "<script>" not in outside.replace("\\<script", "")


def test_every_token_has_an_entry(trace: Trace) -> None:
    page = Page(trace.to_html())
    for token in trace.tokens:
        assert f"token-{token.index}" in page.ids
    markdown = trace.to_markdown()
    assert markdown.count("\n## ") >= len(trace.tokens)


def test_words_hold_every_token_once(trace: Trace) -> None:
    inside = [index for word in trace.words for index in word.tokens]
    shown = [token.index for token in trace.tokens if token.text]
    assert inside == shown
    assert "".join(token.text for token in trace.tokens).strip() == trace.answer.text


def test_forms_agree(trace: Trace) -> None:
    record = json.loads(trace.to_json())
    assert record == json.loads(json.dumps(trace.to_dict()))
    for text in (trace.to_html(), trace.to_markdown()):
        assert record["inference"]["counts"] in text
        assert str(record["generation"]["max_length_ids"]) in text
        assert record["flow"][1]["calls"][0]["name"] in text
        for token in record["tokens"]:
            assert percent(token["probability"]) in text


def test_the_order_of_sections(trace: Trace) -> None:
    titles = re.findall(
        r"^# (.+)$", re.sub(r"```.*?```", "", trace.to_markdown(), flags=re.S), re.M
    )
    wanted = ["Config", "Inference", "Generation", "Flow", "Output"]
    assert [title for title in titles if title in wanted] == wanted
    ids = Page(trace.to_html()).ids
    assert [name for name in ids if name.title() in wanted] == [name.lower() for name in wanted]


def _as_large_as_llava_7b(trace: Trace) -> Trace:
    """64 tokens, two views, 32 layers of 32 heads over 576 patches, 33 layers of lens."""
    generator = np.random.default_rng(0)
    layers, heads, tokens, patches = 32, 32, 64, 576

    def view(name: str) -> ViewAttention:
        means = generator.exponential(size=(layers, tokens, patches)).astype(np.float32)
        per_head = as_maps(generator.exponential(size=(heads, tokens, patches)).astype(np.float32))
        return ViewAttention(
            view=name,
            mean=means.mean(axis=0),
            layers=as_maps(means),
            heads=dict.fromkeys(range(layers), per_head),
            rollout=means[0],
            image_share=means.sum(axis=-1),
            grid=(24, 24),
        )

    views = [view(name.name) for name in trace.views]
    facts = [trace.tokens[index % len(trace.tokens)] for index in range(tokens)]
    lens = trace.lens[0]
    return dataclasses.replace(
        trace,
        tokens=tuple(dataclasses.replace(fact, index=i) for i, fact in enumerate(facts)),
        attention=fitting(views, wanted=(), budget=MAP_BYTES),
        lens=((lens * 11)[:33],) * tokens,
        inference=dataclasses.replace(trace.inference, grid=(24, 24)),
    )


def test_llava_7b_stays_below_ten_megabytes(trace: Trace) -> None:
    large = _as_large_as_llava_7b(trace)
    assert 0 < len(large.attention[0].heads) < 32  # as many layers' heads as fit
    assert len(large.to_html().encode()) < 10_000_000


def test_asked_for_heads_are_kept_in_any_case(trace: Trace) -> None:
    kept = fitting(trace.attention, wanted=(1,), budget=0)
    assert [sorted(view.heads) for view in kept] == [[1], [1]]


def test_files_are_replaced_only_when_finished(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_text(path, "first")
    write_text(path, "second")
    assert path.read_text() == "second"
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(secondsight.UserError, match="cannot be written"):
        write_text(path / "below", "a file is no folder")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", "∅"), ("  ", "␣␣"), (" dog", "␣dog"), ("\n", "↵"), ("a b", "a b")],
)
def test_blanks_can_be_seen(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_markdown_holds_any_text() -> None:
    assert cell("a|b\n*c*<d>") == r"a\|b↵\*c\*\<d\>"
    assert fenced("```\nx").startswith("````\n")
