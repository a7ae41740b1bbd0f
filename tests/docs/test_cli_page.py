"""docs/cli.md shows what the commands print today, with the shipped model."""

from __future__ import annotations

import importlib.util
from difflib import unified_diff
from types import ModuleType

import pytest

from support.markdown import ROOT


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cli_outputs", ROOT / "tools" / "cli_outputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_todays_outputs(tool: ModuleType) -> None:
    """If this fails rightly: python tools/cli_outputs.py."""
    text = tool.PAGE.read_text(encoding="utf-8")
    shown, printed = (
        tool.without_seconds(page).splitlines() for page in (text, tool.regenerate(text))
    )
    assert not list(unified_diff(shown, printed, "shown", "printed", lineterm=""))


def test_only_seconds_may_differ(tool: ModuleType) -> None:
    line = "│ vcd     │ The picture shows a chair. │     47 │    {} │"
    assert tool.without_seconds(line.format("9.42")) == tool.without_seconds(line.format("0.31"))
    assert tool.without_seconds(line.format("9.42")) != tool.without_seconds(line[:-8])
