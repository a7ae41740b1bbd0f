"""DASH-B against values worked out by hand and the official record of a model."""

import json
from pathlib import Path

import pytest

from secondsight.benchmarks import DataError, create, score
from secondsight.benchmarks.dash_b import letters
from secondsight.benchmarks.records import Problems
from secondsight.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    absent = {"coco": {"dog": ["1.png", "2.png"], "cup": ["1.png"]}}
    (tmp_path / "dash_benchmark_neg.json").write_text(json.dumps(absent))
    (tmp_path / "dash_benchmark_pos.json").write_text(json.dumps({"coco": {"dog": ["3.png"]}}))
    return tmp_path


def official(folder: Path, replies: list[tuple[str, str, str, str]]) -> Path:
    path = folder / "answers.json"
    names = ("img_id", "object_name", "gt", "response")
    records = [dict(zip(names, reply, strict=True)) | {"answer": None} for reply in replies]
    path.write_text(json.dumps(records))
    return path


REPLIES = [
    ("1.png", "dog", "no", "No"),
    ("2.png", "dog", "no", "I know: yes"),  # both: yes
    ("1.png", "cup", "no", "I cannot say"),  # the letters of no stand in "cannot"
    ("3.png", "dog", "yes", "A dog is there"),  # neither
]


def test_scores_by_hand(folder: Path) -> None:
    found = score("dash-b", official(folder, REPLIES), options={"annotations": folder}).result
    assert found.to_dict() == pytest.approx(
        {
            "accuracy": 2 / 4, "tnr": 2 / 3, "tpr": 0, "harmonic_mean": 0,
            "yes_ratio": 1 / 4, "unparsed": 1 / 4, "n": 4,
        }
    )  # fmt: skip


def test_the_official_record_of_paligemma(tmp_path: Path) -> None:
    # 1341 images on each side; 354 rightly denied, 1158 rightly seen.
    files = [f"{number}.png" for number in range(1341)]
    for side in ("neg", "pos"):
        path = tmp_path / f"dash_benchmark_{side}.json"
        path.write_text(json.dumps({"coco": {"dog": files}}))
    replies = [(file, "dog", "no", "no" if n < 354 else "yes") for n, file in enumerate(files)]
    replies += [(file, "dog", "yes", "yes" if n < 1158 else "no") for n, file in enumerate(files)]
    answers = official(tmp_path, replies)
    found = score("dash-b", answers, options={"annotations": tmp_path}).result.to_dict()
    assert found["accuracy"] == pytest.approx(0.5637583892617449, abs=1e-15)
    assert found["tnr"] == pytest.approx(0.2639821029082774, abs=1e-15)
    assert found["tpr"] == pytest.approx(0.8635346756152126, abs=1e-15)
    assert found["harmonic_mean"] == pytest.approx(0.40435353858172646, abs=1e-15)


@pytest.mark.parametrize(
    ("text", "expected"), [("NO", "no"), ("Eyes", "yes"), ("snow", "no"), ("", "unparsed")]
)
def test_letters_anywhere(text: str, expected: str) -> None:
    assert letters(text) == expected


def test_the_official_question_and_images(folder: Path) -> None:
    items = create("dash-b", {"annotations": folder}).load(Problems(lenient=False)).items
    assert len(items) == 4
    question = "Can you see a dog in this image? Please answer only with yes or no."
    assert (items[0].question, items[0].truth["label"]) == (question, "no")
    assert items[-1].image == folder / "pos/coco/dog/3.png"


def test_the_columns_of_the_hub(tmp_path: Path) -> None:
    path = tmp_path / "dash.json"
    rows = [
        {"question_id": 7, "img_id": "1", "question": "Can you see a cup?", "answer": "yes",
         "object": "cup", "image": {"path": "1.png"}},
        {"question_id": 8, "img_id": "2", "question": "Can you see a cup?", "answer": "no",
         "object": "cup", "image": {"path": "2.png"}},
    ]  # fmt: skip
    path.write_text(json.dumps(rows))
    options = {"questions": path, "images": tmp_path}
    items = create("dash-b", options).load(Problems(lenient=False)).items
    assert [item.image for item in items] == [tmp_path / "1.png", tmp_path / "2.png"]
    answers = official(tmp_path, [("1", "cup", "yes", "yes"), ("2", "cup", "no", "yes")])
    assert score("dash-b", answers, options=options).result.to_dict()["accuracy"] == 0.5


def test_bad_input(folder: Path) -> None:
    options = {"annotations": folder}
    with pytest.raises(DataError, match=r"no answer to pos/coco/dog/3\.png"):
        score("dash-b", official(folder, REPLIES[:3]), options=options)
    with pytest.raises(DataError, match=r"1\.png was answered before"):
        score("dash-b", official(folder, [*REPLIES, REPLIES[0]]), options=options)
    with pytest.raises(DataError, match=r"9\.png of dog is not in"):
        score("dash-b", official(folder, [*REPLIES, ("9.png", "dog", "no", "")]), options=options)
    (folder / "dash_benchmark_pos.json").write_text("[]")
    with pytest.raises(DataError, match="lists of files by dataset and object were expected"):
        score("dash-b", official(folder, REPLIES), options=options)
    with pytest.raises(UserError, match="dash-b: --annotations is needed here"):
        score("dash-b", official(folder, REPLIES))
