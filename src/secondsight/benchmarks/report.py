"""A run's scores and reports: ``scores.json``, ``report.md``, ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from secondsight.benchmarks.comparison import Comparison
from secondsight.benchmarks.formatting import (
    baseline_cells,
    baseline_columns,
    cells,
    columns,
    length_cells,
    length_columns,
    length_reading,
    reading,
)
from secondsight.benchmarks.plots import plots
from secondsight.benchmarks.task import settled
from secondsight.extras import needed
from secondsight.files import write_atomic

with needed("eval", "A report"):
    import jsonschema

SCORES, REPORT_MD, REPORT_HTML = "scores.json", "report.md", "report.html"


def schema() -> dict[str, Any]:
    """The JSON schema of ``scores.json``."""
    source = resources.files("secondsight.benchmarks") / "scores.schema.json"
    loaded: dict[str, Any] = json.loads(source.read_text("utf-8"))
    return loaded


def write_reports(
    folder: Path, comparison: Comparison, title: str, manifest: Mapping[str, Any]
) -> None:
    """Writes the scores, validated, and both reports.

    Args:
        folder: The run's folder.
        comparison: What was found.
        title: The benchmark's title.
        manifest: What was run.
    """
    # Through text, because asdict keeps tuples, which no schema knows.
    text = json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False)
    jsonschema.validate(json.loads(text), schema())
    write_atomic(folder / SCORES, text + "\n")
    environment = Environment(
        loader=PackageLoader("secondsight.benchmarks"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values = {
        "title": title,
        "comparison": comparison,
        "columns": columns(comparison),
        "table": [cells(row, comparison) for row in comparison.rows],
        "reading": reading(comparison),
        "lengths": _lengths(comparison),
        "scoring": settled(comparison.scoring),
        "manifest": manifest,
        "manifest_text": json.dumps(manifest, indent=2, ensure_ascii=False),
        "plots": [Markup(plot) for plot in plots(comparison)],
    }
    for name in (REPORT_MD, REPORT_HTML):
        write_atomic(folder / name, environment.get_template(f"{name}.j2").render(values))


def _lengths(comparison: Comparison) -> dict[str, Any] | None:
    """What the reports say of captions held against shorter ones."""
    lengths = comparison.lengths
    if lengths is None:
        return None
    return {
        "columns": length_columns(comparison, lengths),
        "rows": lengths.rows,
        "table": [length_cells(row, comparison, lengths) for row in lengths.rows],
        "baseline_columns": baseline_columns(comparison, lengths),
        "baselines": [baseline_cells(one, comparison, lengths) for one in lengths.baselines],
        "reading": length_reading(comparison, lengths),
    }
