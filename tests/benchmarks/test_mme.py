"""MME against values worked out by hand."""

from pathlib import Path

import pytest

from secondsight.benchmarks import DataError, Mme, Response, score_mme
from secondsight.benchmarks.mme import parse_mme, read_benchmark
from secondsight.benchmarks.records import Problems

EXISTENCE = [
    ("1.jpg", "Yes", "Yes, there is."),  # yes, right
    ("1.jpg", "No", "No."),  # no, right: both
    ("2.jpg", "Yes", "Certainly yes"),  # "cert": other, wrong
    ("2.jpg", "No", "I do not know"),  # "i do": other, wrong
    ("3.jpg", "Yes", "no"),  # wrong
    ("3.jpg", "No", "Yes"),  # wrong
    ("4.jpg", "Yes", "yes"),  # right
    ("4.jpg", "No", "not at all"),  # "not ": no, right: both
]
CODE = [("a.png", "Yes", "Yes"), ("a.png", "No", "Yes")]


def write(folder: Path, task: str, rows: list[tuple[str, str, str]]) -> None:
    lines = [f"{image}\tIs it?\t{label}\t{answer}\n" for image, label, answer in rows]
    (folder / f"{task}.txt").write_text("".join(lines))


def test_scores_by_hand(tmp_path: Path) -> None:
    write(tmp_path, "existence", EXISTENCE)
    write(tmp_path, "code_reasoning", CODE)
    found = score_mme(tmp_path).to_dict()
    assert list(found["tasks"]) == ["existence", "code_reasoning"]
    assert found["tasks"]["existence"] == pytest.approx(
        {
            "accuracy": 4 / 8,
            "accuracy_plus": 2 / 4,
            "score": 100.0,
            "precision": 2 / 3,  # of three answers yes
            "recall": 2 / 3,  # of three labels yes with an answer that is yes or no
            "n": 8,
            "other": 2,
        }
    )
    assert found["tasks"]["code_reasoning"]["score"] == 50.0
    assert found["totals"] == {"perception": 100.0, "cognition": 50.0, "hallucination": 100.0}
    assert "existence" not in found["missing"]
    assert "OCR" in found["missing"]


def test_totals_without_any_of_their_tasks_are_null(tmp_path: Path) -> None:
    write(tmp_path, "code_reasoning", CODE)
    assert score_mme(tmp_path).totals == {
        "perception": None,
        "cognition": 50.0,
        "hallucination": None,
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("YES", "yes"),
        ("no", "no"),
        (" yes", "yes"),
        ("noyes", "no"),
        ("nyes", "yes"),
        ("  yes", "unparsed"),
        ("know", "no"),
        ("unknown", "unparsed"),
        ("", "unparsed"),
    ],
)
def test_parse_looks_at_four_characters_yes_first(answer: str, expected: str) -> None:
    assert parse_mme(answer) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.jpg\tQ\tYes\tYes\n1.jpg\tQ\tNo\n", "existence.txt:2: 3 tab-separated fields"),
        ("1.jpg\tQ\tYes\tYes\n1.jpg\tQ\tMaybe\tNo\n", "existence.txt:2: label 'Maybe'"),
        ("1.jpg\tQ\tYes\tYes\n2.jpg\tQ\tNo\tNo\n", "existence.txt:2: the second question of 1.jpg"),
        ("1.jpg\tQ\tYes\tYes\n", "existence.txt:1: 1 lines, but each image has two questions"),
    ],
)
def test_bad_lines(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "existence.txt").write_text(text)
    write(tmp_path, "count", CODE)
    with pytest.raises(DataError) as error:
        score_mme(tmp_path)
    assert message in str(error.value)
    lenient = score_mme(tmp_path, lenient=True)
    assert list(lenient.tasks) == ["count"]
    assert lenient.warnings[0].startswith("1 x ")


def test_folders_without_answers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no TASK\.txt"):
        score_mme(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        score_mme(tmp_path / "absent")
    (tmp_path / "count.txt").write_text("")
    with pytest.raises(DataError, match=r"count\.txt: the file is empty"):
        score_mme(tmp_path)


def test_benchmark_folder_in_both_official_layouts(tmp_path: Path) -> None:
    side_by_side = tmp_path / "count"
    split = tmp_path / "scene"
    for folder in (side_by_side, split / "images", split / "questions_answers_YN"):
        folder.mkdir(parents=True)
    (side_by_side / "1.txt").write_text("Two?\tYes\nThree?\tNo\n")
    (side_by_side / "1.png").touch()
    (split / "questions_answers_YN" / "x.txt").write_text("Hall?\tNo\nBar?\tYes")
    items = read_benchmark(tmp_path, Problems(lenient=False))
    assert [(item.id, item.question, item.truth["label"]) for item in items] == [
        ("count/1/1", "Two?", "yes"),
        ("count/1/2", "Three?", "no"),
        ("scene/x/1", "Hall?", "no"),
        ("scene/x/2", "Bar?", "yes"),
    ]
    assert items[0].image == side_by_side / "1.png"
    assert items[2].image == split / "images" / "x.jpg"


def test_benchmark_metrics_agree_with_the_scorer(tmp_path: Path) -> None:
    (tmp_path / "existence").mkdir()
    for image in "1234":
        (tmp_path / "existence" / f"{image}.txt").write_text("Is it?\tYes\nIs it?\tNo\n")
    task = Mme(annotations=tmp_path).load(Problems(lenient=False))
    counts = task.scorer.count(task.items, [Response(answer) for _, _, answer in EXISTENCE])
    values = task.scorer.metrics(counts.totals())
    assert float(values["hallucination"]) == 100.0
    assert float(values["accuracy"]) == 0.5
    assert counts.columns["correct"].tolist() == [1, 1, 0, 0, 0, 0, 1, 1]
    assert [m.name for m in task.compared(list(values)) if m.shown] == [
        "accuracy", "accuracy_plus", "hallucination", "yes_ratio",
    ]  # fmt: skip


def test_tasks_that_are_none_of_mme_and_totals_over_few_are_said(tmp_path: Path) -> None:
    write(tmp_path, "Counts", CODE)
    write(tmp_path, "existence", EXISTENCE)
    found = score_mme(tmp_path)
    assert found.totals["perception"] == 100.0
    assert found.warnings == (
        "'Counts' is no task of MME and is in no total; did you mean 'count'?",
        "the total perception is over 1 of 10 tasks: existence",
        "the total hallucination is over 1 of 4 tasks: existence",
    )


def test_an_image_that_a_task_has_twice_is_named(tmp_path: Path) -> None:
    write(tmp_path, "existence", [*EXISTENCE, *EXISTENCE[:2]])
    with pytest.raises(DataError, match=r"existence\.txt:9: 1\.jpg was answered before"):
        score_mme(tmp_path)
    assert score_mme(tmp_path, lenient=True).tasks["existence"].n == 8
