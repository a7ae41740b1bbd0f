"""``secondsight score`` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secondsight.benchmarks import DataError
from secondsight.cli.score import app

DATA = Path(__file__).parents[1] / "benchmarks" / "data"
POPE = [
    "pope",
    "--questions",
    str(DATA / "disagree_questions.jsonl"),
    "--answers",
    str(DATA / "disagree_answers.jsonl"),
]


def run(*args: str) -> tuple[str, str]:
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout, result.stderr


def test_table_and_json() -> None:
    table, _ = run(*POPE)
    assert "0.2667" in table
    assert "strict" in table
    text, err = run(*POPE, "--json", "--parser", "vcd-2023")
    assert json.loads(text)["accuracy"] == pytest.approx(11 / 15)
    assert err == ""


def test_warnings_go_to_stderr_so_that_json_stays_json() -> None:
    text, err = run(*POPE, "--json", "--parser", "ritual-2024")
    assert json.loads(text)["yes_ratio"] == pytest.approx(11 / 17)
    assert "several lines" in err


def test_bad_input_raises_the_error_that_the_root_command_reports(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*POPE[:-1], str(tmp_path / "absent")])
    assert isinstance(result.exception, DataError)


def test_every_benchmark_has_a_command(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"image_id": 1, "caption": "A cat."}')
    (tmp_path / "i.json").write_text('{"images": [{"id": 1}], "annotations": [], "categories": []}')
    text, _ = run(
        "chair", "--answers", str(tmp_path / "a.jsonl"), "--instances", str(tmp_path / "i.json"),
        "--json",
    )  # fmt: skip
    assert json.loads(text)["chair_s"] == 1.0
    (tmp_path / "mme").mkdir()
    (tmp_path / "mme" / "count.txt").write_text("1\tQ\tYes\tYes\n1\tQ\tNo\tNo\n")
    assert "200.00" in run("mme", "--answers", str(tmp_path / "mme"))[0]
    (tmp_path / "annotations.json").write_text(
        '[{"id": 1, "type": "generative", "truth": ["cat"]}]'
    )
    (tmp_path / "relation.json").write_text('{"cat": []}')
    (tmp_path / "answers.json").write_text('[{"id": 1, "response": "A cat."}]')
    table, _ = run(
        "amber", "--answers", str(tmp_path / "answers.json"), "--annotations", str(tmp_path)
    )
    assert "generative cover" in table
