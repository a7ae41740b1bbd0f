"""What the comparison says of captions cut short is what its figures say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("document")

import run
from shorter import frontier, shorter
from tables import Table

from secondsight.benchmarks import create
from secondsight.benchmarks.records import Problems


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def held(
    method: str, distance: float, p: float | None, recall: float, errors: float
) -> dict[str, Any]:
    """A row of the scores, with what it has under ``lengths``."""
    control = method == "greedy"
    return {
        "row": {"method": method, "control": control,
                "metrics": {"recall": {"mean": recall}, "chair_i": {"mean": errors}}},
        "length": {"method": method, "control": control, "words": 30.0,
                   "beyond": method == "vague",
                   "distance": figure(distance), "distance_p": p, "residual": figure(-0.5),
                   "residual_share": figure(-0.1), "equal_length": figure(-0.02),
                   "equal_length_recall": figure(0.0)},
    }  # fmt: skip


def scores() -> dict[str, Any]:
    rows = [
        held("regular", 0.0, None, 0.8, 0.2),
        held("honest", -0.1, 0.001, 0.8, 0.1),
        held("shy", 0.03, 0.02, 0.5, 0.13),
        held("vague", -0.02, 0.2, 0.8, 0.18),
        held("greedy", -0.05, None, 0.8, 0.15),
    ]
    cuts = [("5 words", 0.2, 0.3, False), ("1 sentence", 0.5, 0.1, True), ("whole", 0.8, 0.2, True)]
    return {
        "metrics": {"recall": {"title": "recall"}, "chair_i": {"title": "CHAIRi"}},
        "rows": [one["row"] for one in rows],
        "lengths": {
            "reference": "regular", "recall": "recall", "errors": "chair_i",
            "slope": figure(0.02), "slope_share": figure(0.0),
            "baselines": [
                {"cut": cut, "words": 9.0, "recall": recall, "errors": errors, "frontier": there}
                for cut, recall, errors, there in cuts
            ],
            "rows": [one["length"] for one in rows],
        },
    }  # fmt: skip


def test_rows_and_sentences_say_what_the_figures_say() -> None:
    heading, table, text = shorter({Table("chair", "test", 0.0): scores()})
    assert "greedy" in heading
    assert table.splitlines()[2:] == [
        "| *regular* | +0.0 [-1.0, +1.0] |",
        "| honest | -10.0 [-11.0, -9.0] (-2.0; -0.50) **below** |",
        "| shy | +3.0 [+2.0, +4.0] (-2.0; -0.50) **above** |",
        "| vague | -2.0 [-3.0, -1.0] (-2.0; -0.50) |",
        "| *greedy* | -5.0 [-6.0, -4.0] (-2.0; -0.50) |",
    ]
    assert "cut short anywhere: honest (`test`)." in text
    assert "some cut of regular: shy (`test`)." in text
    assert "1 of 3 methods lie by their mere value below the control that lies lowest" in text
    assert "(greedy): honest, and 1 recall more than any cut" in text


def test_temperatures_have_tables_of_their_own() -> None:
    tables = [Table("chair", "test", 1.0), Table("chair", "hard", 1.0), Table("chair", "hard", 0.0)]
    blocks = shorter(dict.fromkeys(tables, scores()))
    assert len(blocks) == 6
    assert blocks[1].startswith("| method | `test` | `hard` |")
    assert blocks[4].startswith("| method | `hard` |")


def test_scores_without_captions_or_of_before_say_nothing(tmp_path: Path) -> None:
    results = {Table("pope", "test", 0.0): {"lengths": None}, Table("chair", "test", 0.0): {}}
    assert shorter(results) == []
    assert not frontier(results, tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


def test_the_frontier_is_plotted_for_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "f.svg"
    assert frontier({Table("chair", "hard", 1.0): scores()}, path)
    text = path.read_text()
    assert "their frontier" in text
    assert "hard, temperature 1" in text
    assert frontier({Table("chair", "hard", 1.0): scores()}, tmp_path / "again.svg")
    drop = re.compile(r'id="[^"]*"')
    assert drop.sub("", (tmp_path / "again.svg").read_text()) == drop.sub("", text)


def test_answers_that_are_there_are_scored_anew(tmp_path: Path) -> None:
    table = Table("chair", "test", 0.0)
    items = create("chair:dataset=stickers").load(Problems(lenient=False)).items[:4]
    (tmp_path / table.name).mkdir()
    lines = [
        {"method": method, "seed": 0, "id": item.id, "image_id": item.image_id,
         "question": item.question, "text": text, "tokens": 9, "finish_reason": "eos"}
        for item in items
        for method, text in (("regular", "A dog. A cat. A car."), ("vcd", "A dog."))
    ]  # fmt: skip
    (tmp_path / table.name / "answers.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    config = {"model": "bundled", "settings": {"temperature": 0.0}, "preset": "llava-official"}
    (tmp_path / table.name / "manifest.json").write_text(json.dumps({"config": config}))
    run.rescore(table, tmp_path)
    found = json.loads((tmp_path / table.name / "scores.json").read_text())
    assert [row["method"] for row in found["rows"]] == ["regular", "vcd"]
    assert [row["words"] for row in found["lengths"]["rows"]] == [6, 2]
