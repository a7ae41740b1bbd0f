"""The comparison's document says what its figures say, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pages
import pytest

pytest.importorskip("document")

from document import BEGIN, END, write
from findings import kind, overview
from tables import METHODS, PAGES, SPLITS, Size, Table, select

CHAIR, POPE = Table("chair", "test", 1.0), Table("pope", "hard", 0.0)
TASKS = ("chair", "pope")


def pair(against: str, difference: float, p: float = 0.001) -> dict[str, Any]:
    return {"against": against, "difference": difference, "low": difference - 0.01,
            "high": difference + 0.01, "p_holm": p}  # fmt: skip


def row(name: str, value: float, recall: float, **more: Any) -> dict[str, Any]:
    metrics = {
        key: {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}
        for key, mean in (("chair_i", value), ("accuracy", value), ("recall", recall),
                          ("mean_length", 30.0), ("yes_ratio", 0.5), ("f1", 0.5))
    }  # fmt: skip
    given = {"control": False, "versus_regular": None, "versus_best_control": None, "verdict": None}
    return {"method": name, "metrics": metrics, **given, **more}


def scores(table: Table) -> dict[str, Any]:
    sign = -1 if table.task == "chair" else 1
    return {
        "benchmark": table.task, "primary": "chair_i" if table.task == "chair" else "accuracy",
        "headline": ["chair_i", "recall", "mean_length"] if table.task == "chair"
        else ["accuracy", "yes_ratio", "f1"],
        "metrics": {
            name: {"title": name, "unit": "words" if name == "mean_length" else "share",
                   "better": "less" if name == "chair_i" else "more"}
            for name in ("chair_i", "accuracy", "recall", "mean_length", "yes_ratio", "f1")
        },
        "higher_is_better": sign > 0, "images": 5, "items": 7, "seeds": [0, 1],
        "rows": [
            row("regular", 0.5, 0.6),
            row("vcd", 0.5 + 0.3 * sign, 0.7, versus_regular=pair("regular", 0.3 * sign),
                versus_best_control=pair("greedy", 0.1 * sign), verdict="better than its controls"),
            row("m3id", 0.5 + 0.1 * sign, 0.7, versus_regular=pair("regular", 0.1 * sign),
                versus_best_control=pair("greedy", -0.1 * sign),
                verdict="no better than sharpening"),
            row("ritual", 0.5 - 0.1 * sign, 0.5, versus_regular=pair("regular", -0.1 * sign),
                versus_best_control=pair("greedy", -0.3 * sign),
                verdict="no better than sharpening"),
            row("ritual+vcd", 0.5 + 0.2 * sign, 0.65, versus_regular=pair("regular", 0.2 * sign),
                versus_best_control=pair("greedy", 0.0, 1.0),
                verdict="not distinguishable at this size (n needed: unknown, no difference seen)"),
            row("greedy", 0.5 + 0.2 * sign, 0.65, control=True),
        ],
    }  # fmt: skip


def views(**logs: float) -> dict[str, float]:
    return {"original": -1.0, "transformed": -1.0, "noised": -2.0, "no image": -3.0, **logs}


def evidence(split: str, weights: str) -> dict[str, Any]:
    mentions = [
        {"image": str(i), "object": "dog", "true": i % 2 == 0, "step": 3,
         "views": views(original=-1.0 - i % 2)}
        for i in range(8)
    ]  # fmt: skip
    answers = [{"image": "1", "label": "no", "said": "no", "views": {"no image": 0.2}}]
    return {
        "what": {"split": split, "scenes": 8, "weights": weights},
        "mentions": mentions,
        "answers": answers,
        "consulted": {"asked": 5, "named": 0},
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    for table in (CHAIR, POPE):
        (folder / table.name).mkdir(parents=True)
        (folder / table.name / "scores.json").write_text(json.dumps(scores(table)))
        config = {"config": {"weights": "a" * 64}}
        (folder / table.name / "manifest.json").write_text(json.dumps(config))
    (folder / "evidence-test.json").write_text(json.dumps(evidence("test", "a" * 64)))
    (tmp_path / "doc.md").write_text(f"before\n{BEGIN}\nformer\n{END}\nafter\n")
    return folder


@pytest.mark.parametrize("table", [CHAIR, POPE], ids=["less is better", "more is better"])
def test_each_row_is_of_the_kind_its_figures_make_it(table: Table) -> None:
    found = scores(table)
    kinds = {r["method"]: kind(found, r) for r in found["rows"] if r["verdict"]}
    assert kinds == {
        "vcd": "better", "m3id": "sharpening", "ritual": "worse", "ritual+vcd": "open",
    }  # fmt: skip
    assert (
        "in 1, better than regular decoding but not than its best control in 1"
        in overview({table: found})[0]
    )


def test_the_document_keeps_what_is_outside_its_markers(out: Path, tmp_path: Path) -> None:
    doc = tmp_path / "doc.md"
    assert write(out, doc, TASKS)
    text = doc.read_text()
    assert text.startswith(f"before\n{BEGIN}")
    assert text.endswith(f"{END}\nafter\n")
    assert "former" not in text
    assert "| vcd | -10.0 [-11.0, -9.0] (+5.0) **better** |" in text
    assert "| vcd | +10.0 [+9.0, +11.0] **better** |" in text
    assert "so only sharpening: m3id (`hard`)" in text
    assert "0 of 5 replies named one" in text
    for task in ("chair", "pope"):
        assert f"doc_{task}.svg" in text
        assert "<svg" in (tmp_path / f"doc_{task}.svg").read_text()
    write(out, doc, TASKS)
    assert doc.read_text() == text


def test_what_belongs_on_another_page_leaves_a_page_as_it_is(out: Path, tmp_path: Path) -> None:
    assert not write(out, tmp_path / "doc.md", ("check",))
    assert "former" in (tmp_path / "doc.md").read_text()
    assert sorted(task for tasks in PAGES.values() for task in tasks) == sorted(
        {table.task for table in select()}
    )


def test_figures_of_different_weights_are_not_mixed(out: Path, tmp_path: Path) -> None:
    (out / "evidence-hard.json").write_text(json.dumps(evidence("hard", "b" * 64)))
    with pytest.raises(ValueError, match="different weights"):
        write(out, tmp_path / "doc.md", TASKS)
    assert "former" in (tmp_path / "doc.md").read_text()


def test_all_splits_and_both_temperatures_are_tables_and_progress_is_counted(out: Path) -> None:
    assert len(select()) == (2 * 2 + 1) * len(SPLITS)
    assert select((CHAIR.name,)) == [CHAIR]
    assert CHAIR.progress(out, Size(5, 2)) == (0.0, 5 * 5 * (1 + len(METHODS) + 4) * 2)
    (out / CHAIR.name / "answers.jsonl").write_text("{}\n{}\n")
    assert CHAIR.progress(out, Size(5, 2))[0] == 10.0


def test_a_methods_page_gets_its_own_figures(tmp_path: Path) -> None:
    marked = f"# vcd\n\n{pages.BEGIN}\nold\n{pages.END}\n\n## More\n"
    for name, text in (
        ("vcd", marked),
        ("m3id", "# m3id, without a place for it\n"),
        ("opera", marked),
    ):
        (tmp_path / f"{name}.md").write_text(text)
    results = {table: scores(table) for table in (CHAIR, POPE)}
    assert [page.name for page in pages.write_pages(results, tmp_path)] == ["vcd.md"]
    text = (tmp_path / "vcd.md").read_text()
    assert text.startswith(f"# vcd\n\n{pages.BEGIN}\n")
    assert text.endswith(f"{pages.END}\n\n## More\n")
    assert "old" not in text
    assert "| captions, temperature 1 |" in text
    assert "| yes/no, greedy |" in text
    assert "**better**" in text  # as its row in the table says
    assert (tmp_path / "opera.md").read_text() == marked
