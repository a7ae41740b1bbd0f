"""HallusionBench against values worked out by hand."""

import json
from pathlib import Path

import pytest

from secondsight.benchmarks import DataError, create, score
from secondsight.benchmarks.hallusionbench import either_word
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.task import first_images

KEY = ("category", "subcategory", "set_id", "figure_id", "question_id")
# What was asked (set, figure, question, truth), and what is answered.
ASKED = [
    ("VD/illusion/0/0/0", "1", "1", "Yes."),  # right
    ("VD/illusion/0/0/1", "1", "0", "No, it is not."),  # right: figure 0 of set 0 is right
    ("VD/illusion/0/1/0", "2", "0", "Yes"),  # wrong: so is question 0
    ("VD/illusion/0/1/1", "2", "1", "yes, it is"),  # right: so is question 1
    ("VD/illusion/1/0/0", "1", "1", "I cannot tell"),  # wrong
    ("VS/chart/0/0/0", "0", "1", "I do not know"),  # no figure, says neither: right
    ("VS/chart/0/0/1", "0", "1", "No"),  # wrong
    ("VS/chart/0/1/0", "1", "1", "yes"),  # right: so is question 0
    ("VS/chart/0/1/1", "1", "0", "No"),  # right: so is the figure
]


def record(name: str, visual: str, answer: str) -> dict[str, str]:
    parts = dict(zip(KEY, name.split("/"), strict=True))
    return parts | {"visual_input": visual, "question": f"Is {name} so?", "gt_answer": answer}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "HallusionBench.json"
    path.write_text(json.dumps([record(*asked[:3]) for asked in ASKED]))
    return path


def results(folder: Path, asked: list[tuple[str, str, str, str]] = ASKED) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps([record(*one[:3]) | {"model_prediction": one[3]} for one in asked]))
    return path


def test_scores_by_hand(questions: Path, tmp_path: Path) -> None:
    made = create("hallusionbench", {"questions": questions, "rows": "all"})
    found = score(made, results(tmp_path)).result.to_dict()
    assert found == pytest.approx(
        {
            "accuracy": 6 / 9,
            # VD 0/0 wrong, 0/1 right, 1/0 wrong; VS 0/0 right, 0/1 wrong (without the figure).
            "question_accuracy": 2 / 5,
            # VD figures 0/0 right, 0/1 wrong, 1/0 wrong; VS 0/1 right, and 0/0 is no figure.
            "figure_accuracy": 2 / 4,
            "easy_accuracy": 3 / 5,  # VD 0/0, 0/1 right, 1/0 wrong; VS 0/0 right, 0/1 wrong
            "hard_accuracy": 1 / 2,  # edited: VD 0/0 wrong, 0/1 right
            "unparsed": 2 / 9,
            "n": 9,
        }
    )


def test_questions_with_a_figure_alone_by_default(questions: Path, tmp_path: Path) -> None:
    made = create("hallusionbench", {"questions": questions, "images": tmp_path})
    found = score(made, results(tmp_path)).result.to_dict()
    assert found["n"] == 7
    assert found["accuracy"] == pytest.approx(5 / 7)
    assert found["question_accuracy"] == pytest.approx(3 / 5)
    items = made.load(Problems(lenient=False)).items
    assert items[2].image == tmp_path / "VD/illusion/0_1.png"
    assert [item.id for item in first_images(items, 1)] == [one[0] for one in ASKED[:4]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes, there is", "yes"),
        ("No.", "no"),
        ("yes and no", "unparsed"),
        ("no-one", "no"),  # a mark that touches no blank becomes one
        ("no-one - yes", "yes"),  # here it is deleted: "noone  yes"
        ("yes: sure", "unparsed"),  # a colon is no mark
        ("1,000 of them,no", "unparsed"),  # with a comma in a number all marks go: "themno"
        ("Nothing", "unparsed"),
    ],
)
def test_the_one_word_of_the_two(text: str, expected: str) -> None:
    assert either_word(text) == expected


def test_other_files_of_answers_and_the_strict_parser(questions: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [{"id": one[0], "text": "yes and no"} for one in ASKED if one[1] != "0"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = {"questions": questions}
    assert score("hallusionbench", path, options=options).result.to_dict()["unparsed"] == 1
    strict = score("hallusionbench:parser=strict", path, options=options).result.to_dict()
    assert strict["accuracy"] == pytest.approx(4 / 7)


def test_bad_input(questions: Path, tmp_path: Path) -> None:
    options = {"questions": questions}
    with pytest.raises(DataError, match="no answer to VD/illusion/1/0/0"):
        score("hallusionbench", results(tmp_path, ASKED[:4] + ASKED[5:]), options=options)
    with pytest.raises(DataError, match="VD/illusion/0/0/0 was answered before"):
        score("hallusionbench", results(tmp_path, [*ASKED, ASKED[0]]), options=options)
    strange = ("VD/illusion/9/0/0", "1", "1", "yes")
    with pytest.raises(DataError, match=r"VD/illusion/9/0/0 is not in HallusionBench\.json"):
        score("hallusionbench", results(tmp_path, [*ASKED, strange]), options=options)
    questions.write_text(json.dumps([record("XX/a/0/0/0", "1", "3")]))
    with pytest.raises(DataError, match="category 'XX', gt_answer '3'"):
        score("hallusionbench", results(tmp_path), options=options)
