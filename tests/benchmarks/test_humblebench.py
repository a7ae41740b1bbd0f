"""HumbleBench against values worked out by hand, with the official script's rules."""

import json
from pathlib import Path

import pytest

from secondsight.benchmarks import DataError, create, score
from secondsight.benchmarks.humblebench import chosen
from secondsight.benchmarks.records import Problems
from secondsight.errors import UserError

OPTIONS = "A. red\nB. blue\nC. green\nD. grey\nE. None of the above"
ROWS = [
    {"question_id": 1, "label": "A", "type": "Attribute", "image": "1.jpg"},
    {"question_id": 2, "label": "E", "type": "Attribute", "image": "1.jpg"},
    {"question_id": 3, "label": "E", "type": "Object", "image": "2.jpg"},
    {"question_id": 4, "label": "C", "type": "Object", "image": "2.jpg"},
]
REPLIES = ["a. red", "E", "E. None of the above", "C or D"]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "h.json"
    path.write_text(json.dumps([row | {"question": f"Which?\n{OPTIONS}"} for row in ROWS]))
    return path


def replied(folder: Path, texts: list[str]) -> Path:
    path = folder / "a.jsonl"
    lines = [
        row | {"question": "", "prediction": text} for row, text in zip(ROWS, texts, strict=False)
    ]
    for line in lines:
        del line["question"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_scores_by_hand(questions: Path, tmp_path: Path) -> None:
    options = {"questions": questions}
    found = score("humblebench", replied(tmp_path, REPLIES), options=options).result.to_dict()
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert (found["Attribute"]["accuracy"], found["Object"]["accuracy"]) == (1, 0.5)
    # Both are recognised; the official E accuracy wants the bare letter.
    assert (found["none_accuracy"], found["none_bare"]) == (1, 0.5)
    assert found["unparsed"] == pytest.approx(1 / 4)
    assert found["chosen"] == pytest.approx({"A": 0.25, "B": 0, "C": 0, "D": 0, "E": 0.5})


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("B", "B"),
        ("The answer is (c).", "C"),
        ("It is a dog", "A"),  # the article is a letter, as officially
        ("A, not B", "AB"),
        ("None", ""),
        ("", ""),
    ],
)
def test_letters_that_are_words(text: str, letters: str) -> None:
    assert chosen(text) == set(letters)


def test_variants(questions: Path, tmp_path: Path) -> None:
    options = {"questions": questions, "images": tmp_path}
    load = lambda spec: create(spec, options).load(Problems(lenient=False)).items  # noqa: E731
    common = load("humblebench")
    assert common[0].question.startswith("Which?\nA. red\nB. blue")
    assert common[0].image == tmp_path / "1.jpg"
    none = load("humblebench:variant=none-only")
    assert {item.truth["label"] for item in none} == {"E"}
    assert none[0].question.startswith("Which?\nB. blue\nC. green")
    assert none[1].question == common[1].question
    noise = load("humblebench:variant=noise")
    assert noise[0].shown().tobytes() == noise[3].shown().tobytes()  # type: ignore[union-attr]
    with pytest.raises(UserError, match="variant cannot be 'hard'"):
        load("humblebench:variant=hard")


def test_bad_input(questions: Path, tmp_path: Path) -> None:
    options = {"questions": questions}
    with pytest.raises(DataError, match="no answer to 4"):
        score("humblebench", replied(tmp_path, REPLIES[:3]), options=options)
    questions.write_text(json.dumps([ROWS[0] | {"question": "Which?", "label": "F"}]))
    with pytest.raises(DataError, match="label 'F' is none of A to E"):
        score("humblebench", replied(tmp_path, REPLIES), options=options)
    questions.write_text(json.dumps([ROWS[0] | {"question": "Which?"}]))
    with pytest.raises(DataError, match=r"no single line A\. among"):
        score("humblebench:variant=none-only", replied(tmp_path, REPLIES), options=options)
