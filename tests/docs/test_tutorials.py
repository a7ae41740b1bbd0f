"""The tutorials run, and still print what is stored with them."""

from __future__ import annotations

import importlib.util
from difflib import unified_diff
from types import ModuleType
from typing import Any

import pytest

from support.markdown import ROOT

nbformat = pytest.importorskip("nbformat", reason="the extra docs is not installed")

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorials", ROOT / "tools" / "tutorials.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(path: Any) -> Any:
    return nbformat.read(path, as_version=4)


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_prints_what_it_shows(tool: ModuleType, path: Any) -> None:
    """If this fails rightly: python tools/tutorials.py."""
    shown, printed = (
        "\n".join(tool.texts(one)).splitlines() for one in (stored(path), tool.run(path))
    )
    assert not list(unified_diff(shown, printed, "shown", "printed", lineterm=""))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_stored_as_it_ran(path: Any) -> None:
    """From its first cell to its last, with plots, without an error."""
    cells = [cell for cell in stored(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [one for one in outputs if one.output_type == "error"]
    assert sum("image/png" in one.get("data", {}) for one in outputs) >= 3
