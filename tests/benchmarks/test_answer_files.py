"""Files of answers that other people's code writes: read rightly, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secondsight.benchmarks import DataError, score, score_chair, score_mme, score_pope

QUESTIONS = [
    {"question_id": 1, "image": "a.jpg", "text": "Is there a lamp in the image?", "label": "yes"},
    {"question_id": 2, "image": "a.jpg", "text": "Is there a goat in the image?", "label": "no"},
    {"question_id": 3, "image": "b.jpg", "text": "Is there a lamp in the image?", "label": "no"},
    {"question_id": 4, "image": "b.jpg", "text": "Is there a kite in the image?", "label": "yes"},
]
SUFFIX = "\nAnswer the question using a single word or phrase."
ASKED = [line["text"] for line in QUESTIONS]
LABELS = [line["label"] for line in QUESTIONS]
RIGHT = ["Yes", "No", "No", "Yes"]
WRONG = ["No", "Yes", "Yes", "No"]


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write(tmp_path / "questions.jsonl", QUESTIONS)


def numbered(**fields: list[Any]) -> list[dict[str, Any]]:
    """A record for each question, with its id and the fields given."""
    return [
        {"question_id": number + 1, **{name: values[number] for name, values in fields.items()}}
        for number in range(4)
    ]


def lmms(replies: list[str], key: str = "filtered_resps") -> list[dict[str, Any]]:
    """What lmms-eval logs."""
    return [
        {
            "doc_id": number,
            "doc": {
                "id": str(number), "question_id": str(number + 1), "question": ASKED[number],
                "answer": LABELS[number], "image_source": QUESTIONS[number]["image"][:-4],
                "category": "adversarial",
            },
            "target": LABELS[number],
            "input": ASKED[number] + SUFFIX,
            "resps": [[replies[number]]],
            **({key: [replies[number]]} if key == "filtered_resps" else {}),
            "pope_accuracy": {"question_id": str(number + 1), "prediction": "ignored"},
        }
        for number in range(4)
    ]  # fmt: skip


def eval_lines(replies: list[str]) -> list[dict[str, Any]]:
    return [
        {"method": "vcd", "seed": 3, "id": str(n + 1), "image_id": QUESTIONS[n]["image"],
         "question": ASKED[n], "item": "0", "text": replies[n]}
        for n in range(4)
    ]  # fmt: skip


def list_lines(replies: list[str]) -> list[dict[str, Any]]:
    made = {"method": {"spec": "ritual"}, "seed": 0}
    return [
        {"image": f"photos/{QUESTIONS[n]['image']}", "question": ASKED[n] + SUFFIX, "id": None,
         "text": replies[n], "finish_reason": "eos", "provenance": made}
        for n in range(4)
    ]  # fmt: skip


FORMS = {
    "text": lambda r: numbered(text=r),
    "answer": lambda r: numbered(answer=r),
    "LLaVA": lambda r: numbered(
        prompt=[text + SUFFIX for text in ASKED], text=r, answer_id=list("abcd"),
        model_id=["m"] * 4, metadata=[{}] * 4,
    ),
    "the question in text": lambda r: numbered(text=ASKED, label=LABELS, answer=r),
    "the question with its suffix in text": lambda r: numbered(
        text=[text + SUFFIX for text in ASKED], answer=r
    ),
    "VLMEvalKit": lambda r: [
        {"index": n, "question": ASKED[n], "answer": LABELS[n].title(), "category": "random",
         "image_path": f"/tmp/images/{n}.jpg", "prediction": r[n]}
        for n in range(4)
    ],
    "VLMEvalKit, ids kept": lambda r: numbered(
        question=ASKED, answer=[label.title() for label in LABELS], prediction=r
    ),
    "lmms-eval": lmms,
    "lmms-eval, unfiltered": lambda r: lmms(r, "resps"),
    "POPE's own": lambda r: [
        {"question": text, "answer": reply} for text, reply in zip(ASKED, r, strict=True)
    ],
    "eval": eval_lines,
    "describe --list": list_lines,
    "the image and the question": lambda r: [
        {"image": QUESTIONS[n]["image"], "question": ASKED[n], "text": r[n]}
        for n in (3, 0, 2, 1)
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_rightly(form: str, questions: Path, tmp_path: Path) -> None:
    # Half right, so that neither field nor order can be mistaken.
    replies = [RIGHT[0], WRONG[1], RIGHT[2], RIGHT[3]]
    found = score_pope(questions, write(tmp_path / "a.jsonl", FORMS[form](replies)))
    assert (found.accuracy, found.recall) == (0.75, 1.0)
    array = tmp_path / "a.json"
    array.write_text(json.dumps(FORMS[form](replies)))
    assert score_pope(questions, array).accuracy == 0.75


def test_a_table_is_read_too(questions: Path, tmp_path: Path) -> None:
    rows = ["question_id\tquestion\tanswer\tprediction"]
    rows += [f'{n + 1}\t{ASKED[n]}\t{LABELS[n]}\t"{RIGHT[n]},\u2028really"' for n in range(4)]
    path = tmp_path / "a.tsv"
    path.write_text("\n".join(rows) + "\n")
    assert score_pope(questions, path).accuracy == 1.0
    path.write_text("\n".join([*rows, "5\tonly two"]))
    with pytest.raises(DataError, match=r"a\.tsv:6: 4 fields were expected"):
        score_pope(questions, path)
    with pytest.raises(DataError, match=r"is no text\. Convert it first: python -c .*read_excel"):
        score_pope(questions, tmp_path / "a.xlsx")


def test_the_log_of_an_older_harness_is_read(questions: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"args": {"model": "m"}, "logs": lmms(RIGHT)}, indent=1))
    assert score_pope(questions, path).accuracy == 1.0
    path.write_text(json.dumps({"results": 1, "config": {}}, indent=1))
    with pytest.raises(DataError, match="one JSON object over several lines \\('config', 'resul"):
        score_pope(questions, path)


def three_in_one(groups: list[list[str]], replies: list[list[str]], prompts: bool = True):
    """LLaVA's file of three kinds of questions, numbered from 1, 10000001 and 20000001."""
    return [
        {"question_id": base * 10_000_000 + n + 1, "text": replies[base][n]}
        | ({"prompt": text + SUFFIX} if prompts else {})
        for base, asked in enumerate(groups)
        for n, text in enumerate(asked)
    ]


@pytest.mark.parametrize("lenient", [False, True])
def test_three_files_of_questions_in_one_are_told_apart(
    questions: Path, tmp_path: Path, lenient: bool
) -> None:
    others = [text.replace("goat", "table").replace("kite", "boat") for text in ASKED]
    answers = three_in_one([others, ASKED, others], [WRONG, RIGHT, WRONG])
    found = score_pope(questions, write(tmp_path / "a", answers), lenient=lenient)
    assert found.accuracy == 1.0
    assert found.n == 4
    assert (
        "8 of 12 answers are to other files of questions (number 1 is the one"
        in (found.warnings[0])
    )
    silent = three_in_one([others, ASKED], [WRONG, RIGHT], prompts=False)
    with pytest.raises(DataError, match="nothing says which of them answer questions"):
        score_pope(questions, write(tmp_path / "a", silent), lenient=lenient)


def test_categories_in_one_file_are_told_apart(questions: Path, tmp_path: Path) -> None:
    first, second = lmms(RIGHT), lmms(WRONG)
    for record in second:
        record["doc"]["category"] = "popular"
        record["doc"]["question"] = record["doc"]["question"].replace("lamp", "vase")
        record["input"] = record["doc"]["question"]
    found = score_pope(questions, write(tmp_path / "a", [*second, *first]))
    assert (found.accuracy, found.n) == (1.0, 4)
    assert "category adversarial is the one" in found.warnings[0]


@pytest.mark.parametrize(
    ("records", "named"),
    [
        (numbered(text=RIGHT, question=[*ASKED[:3], "Is there a zebra?"]),
         "a:4: question_id 4 was asked 'Is there a zebra?', but questions.jsonl asks 'Is"),
        (numbered(text=["a", "b", "c", "d"], answer=["Yes", "Yes", "No", "No"]),
         "a:1: 'text' (a) and 'answer' (Yes) could each be the reply. Keep one of them, such as: "
         "jq -c '{question_id, text: .text}'"),
        (numbered(prediction=RIGHT, text=WRONG), "'prediction' (Yes) and 'text' (No) could each"),
        (numbered(text=ASKED), "the field 'text' holds the questions, not replies"),
        (numbered(text=[1, True, ["Yes"], {"a": 1}]), "a:1: 'text' is a number, not one text"),
        (numbered(resps=[["Yes", "No"]] * 4), "a:1: 'resps' is a list, not one text"),
        ([{"text": "Yes"}] * 4, "a:1: no field 'question_id' or 'id' or 'image_id', and no image"),
        ([{"question": ASKED[0], "answer": "Yes"}], "1 answers without an id to 4 questions"),
        ([{"question": text, "answer": "Yes"} for text in ASKED[::-1]],
         "a:1: was asked 'Is there a kite in the image?', but questions.jsonl asks"),
        ([*numbered(text=RIGHT), {"question_id": "x", "text": "Yes"}],
         "a:5: question_id x is not in questions.jsonl"),
        ([{"image": "a.jpg", "text": "Yes"}], "a:1: image a.jpg fits 2 questions"),
        ([{"id": "1", "error": "a.jpg: broken"}, *numbered(text=RIGHT)],
         "a:1: failed: a.jpg: broken"),
        (numbered(text=["\ud800", *RIGHT[1:]]), "a:1: holds half of a character"),
    ],
)  # fmt: skip
def test_what_is_in_doubt_is_refused(
    questions: Path, tmp_path: Path, records: list[dict[str, Any]], named: str
) -> None:
    with pytest.raises(DataError) as error:
        score_pope(questions, write(tmp_path / "a", records))
    assert named in str(error.value)
    assert "\ud800" not in str(error.value)


def test_json_that_cannot_be_read_is_one_line(questions: Path, tmp_path: Path) -> None:
    path = tmp_path / "a"
    for text, named in (
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
        ('{"question_id": ' + "9" * 5000 + "}", "not JSON that can be read"),
        ('{"question_id": 1, "text": "Yes"', "not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(DataError) as error:
            score_pope(questions, path)
        assert named in str(error.value)
        assert str(error.value).count("\n") <= 1


def test_captions_by_image_however_it_is_named(tmp_path: Path) -> None:
    images = [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg"}, {"id": 7, "file_name": "b"}]
    instances = tmp_path / "instances.json"
    instances.write_text(
        json.dumps(
            {
                "images": images,
                "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
                "annotations": [
                    {"image_id": 42, "category_id": 1}, {"image_id": 7, "category_id": 2},
                ],
            }
        )
    )  # fmt: skip
    for named in (
        {"image_id": 42},
        {"image_id": "42"},
        {"image_id": 42.0},
        {"image": "COCO_val2014_000000000042.jpg"},
        {"image": "val2014/COCO_val2014_000000000042.jpg"},
        {"image_id": "COCO_val2014_000000000042"},
        {"id": "42", "image_id": "42"},
        {"question_id": 42, "prompt": "Describe."},
        # LLaVA counts its questions; the image says more than the number 7.
        {"question_id": 7, "image": "COCO_val2014_000000000042.jpg"},
    ):
        path = write(tmp_path / "a", [{**named, "text": "A cat."}])
        found = score_chair(path, instances)
        assert (found.captions[0].image_id, found.chair_s) == ("42", 0.0), named
    with pytest.raises(DataError, match="question_id 0 is not in instances"):
        score_chair(write(tmp_path / "a", [{"question_id": 0, "text": "A cat."}]), instances)


def test_several_methods_in_one_file_are_scored_apart(questions: Path, tmp_path: Path) -> None:
    lines = eval_lines(RIGHT)
    for line in eval_lines(WRONG):
        lines.append({**line, "method": "regular"})
    scored = score("pope", write(tmp_path / "a", lines), options={"questions": questions})
    assert [(run.method, run.seed, run.result.accuracy) for run in scored.runs] == [
        ("vcd", 3, 1.0), ("regular", 3, 0.0),
    ]  # fmt: skip
    assert [run["method"] for run in scored.to_dict()["runs"]] == ["vcd", "regular"]
    with pytest.raises(DataError, match="answers of 2 runs, not of one: vcd \\(seed 3\\), regular"):
        score_pope(questions, tmp_path / "a")


def test_mme_answers_in_a_file_need_the_benchmark(tmp_path: Path) -> None:
    folder = tmp_path / "MME" / "count"
    folder.mkdir(parents=True)
    (folder / "1.txt").write_text("Two? Please answer yes or no.\tYes\nThree?\tNo\n")
    records = [
        {"question_id": "count/1.png", "prompt": "Two? Please answer yes or no.", "text": "Yes"},
        {"question_id": "count/1.png", "prompt": "Three?", "text": "Yes"},
    ]
    path = write(tmp_path / "a.jsonl", records)
    found = score("mme", path, options={"annotations": tmp_path / "MME"}).result.to_dict()
    assert found["tasks"]["count"]["accuracy"] == 0.5
    with pytest.raises(DataError, match="needs --annotations as well"):
        score_mme(path)
