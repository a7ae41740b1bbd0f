"""``secondsight score`` on the command line."""

import json
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "benchmarks" / "data"
POPE = [
    "pope",
    "--questions",
    str(DATA / "disagree_questions.jsonl"),
    "--answers",
    str(DATA / "disagree_answers.jsonl"),
]


def test_table_and_json(run) -> None:
    table = run("score", *POPE)
    assert table.code == 0
    assert "0.2667" in table.out
    assert "strict" in table.out
    found = run("score", *POPE, "--json", "--parser", "vcd-2023")
    assert json.loads(found.out)["accuracy"] == pytest.approx(11 / 15)
    assert found.err == ""


def test_options_stand_behind_the_name_too(run) -> None:
    found = run("score", "pope:parser=official", *POPE[1:], "--json")
    assert json.loads(found.out)["accuracy"] == pytest.approx(7 / 15)
    twice = run("score", "pope:parser=official", *POPE[1:], "--parser", "strict")
    assert twice.code == 2
    assert "pope: parser is given twice" in twice.err


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--synonyms", "s.txt"), "pope has no option 'synonyms'"),
        (("--parser", "lax"), "pope: parser cannot be 'lax'"),
        (("--dataset", "stickers"), "--questions has no meaning with --dataset stickers"),
        (("--strategy", "random"), "--strategy has no meaning with --questions"),
    ],
)
def test_options_without_a_meaning_are_refused_by_name(run, args, named: str) -> None:
    result = run("score", *POPE, *args)
    assert result.code == 2
    assert named in result.err


def test_an_unknown_benchmark_is_named(run) -> None:
    result = run("score", "pop", "--answers", "a")
    assert result.code == 2
    assert "No benchmark is called 'pop'. Did you mean 'pope'?" in result.err


def test_warnings_go_to_stderr_so_that_json_stays_json(run) -> None:
    found = run("score", *POPE, "--json", "--parser", "ritual-2024")
    assert json.loads(found.out)["yes_ratio"] == pytest.approx(11 / 17)
    assert "several lines" in found.err


def test_bad_input_is_one_error(run, tmp_path: Path) -> None:
    result = run("score", *POPE[:-1], tmp_path / "absent")
    assert result.code == 2
    assert "no such file" in result.err


def test_every_benchmark_is_scored(run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"image_id": 1, "caption": "A cat."}')
    (tmp_path / "i.json").write_text('{"images": [{"id": 1}], "annotations": [], "categories": []}')
    chair = run(
        "score", "chair", "--answers", tmp_path / "a.jsonl", "--instances", tmp_path / "i.json",
        "--json",
    )  # fmt: skip
    assert json.loads(chair.out)["chair_s"] == 1.0
    (tmp_path / "mme").mkdir()
    (tmp_path / "mme" / "count.txt").write_text("1\tQ\tYes\tYes\n1\tQ\tNo\tNo\n")
    mme = run("score", "mme", "--answers", tmp_path / "mme")
    assert "200.00" in mme.out
    assert "missing: existence, position" in mme.out
    assert "the total perception is over 1 of 10 tasks" in mme.err
    (tmp_path / "annotations.json").write_text(
        '[{"id": 1, "type": "generative", "truth": ["cat"]}]'
    )
    (tmp_path / "relation.json").write_text('{"cat": []}')
    (tmp_path / "answers.json").write_text('[{"id": 1, "response": "A cat."}]')
    amber = run("score", "amber", "--answers", tmp_path / "answers.json", "--annotations", tmp_path)
    assert "generative cover" in amber.out
