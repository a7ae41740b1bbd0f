"""NaturalBench against values worked out by hand and those of the official script."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from secondsight.benchmarks import DataError, Response, create, score
from secondsight.benchmarks.fingerprint import item_hashes
from secondsight.benchmarks.naturalbench import first_of
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.runner import evaluate
from secondsight.benchmarks.task import first_images
from secondsight.errors import UserError
from support.fake_model import FakeModel
from support.fake_model import answer as answered


def row(index: int, kind: str = "yes_no") -> dict[str, object]:
    yes, no = ("Yes", "No") if kind == "yes_no" else ("A", "B")
    return {
        "Index": index, "Question_0": "Is it red?", "Question_1": "Is it blue?",
        "Image_0": f"{index}a.png", "Image_1": f"{index}b.png",
        "Image_0_Question_0": yes, "Image_1_Question_0": no,
        "Image_0_Question_1": no, "Image_1_Question_1": yes,
        "Question_Type": kind, "Source": "none",
    }  # fmt: skip


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text(json.dumps(rows))
    return path


def answer(path: Path, texts: dict[int, list[str]]) -> Path:
    places = ("q0_i0", "q0_i1", "q1_i0", "q1_i1")
    lines = [
        {"id": f"{index}/{place}", "text": text}
        for index, group in texts.items()
        for place, text in zip(places, group, strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_scores_by_hand_and_by_the_official_script(tmp_path: Path) -> None:
    questions = write(tmp_path / "n.json", [row(0), row(1), row(2, "multiple_choice")])
    texts = {
        0: ["Yes.", "No", "no, it is", "YES"],  # all right
        1: ["Yes", "yes, not no", "No", "Yes"],  # question 1 and image 0 are right
        2: ["It is B", "B", "b.", "neither"],  # B (wrong), B, B, nothing: two answers right
    }
    answers = answer(tmp_path / "a.jsonl", texts)
    found = score("naturalbench", answers, options={"questions": questions}).result.to_dict()
    # What the official extract_answer and get_scores give for these twelve outputs:
    assert found["accuracy"] == pytest.approx(OFFICIAL["Acc"]) == pytest.approx(9 / 12)
    assert found["q_acc"] == pytest.approx(OFFICIAL["Q_Acc"]) == pytest.approx(3 / 6)
    assert found["i_acc"] == pytest.approx(OFFICIAL["I_Acc"]) == pytest.approx(3 / 6)
    assert found["g_acc"] == pytest.approx(OFFICIAL["G_Acc"]) == pytest.approx(1 / 3)
    assert found["unparsed"] == pytest.approx(1 / 12)
    assert found["n"] == 12


OFFICIAL = {"Q_Acc": 0.5, "I_Acc": 0.5, "Acc": 0.75, "G_Acc": 1 / 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No, yes", "no"),
        ("I know yesterday", "unparsed"),
        ("yes-no", "yes"),
        ("_yes_", "unparsed"),
    ],
)
def test_the_first_of_both_words_counts(text: str, expected: str) -> None:
    assert first_of(text, ("yes", "no")) == expected


def test_a_cut_group_counts_in_the_accuracy_alone(tmp_path: Path) -> None:
    questions = write(tmp_path / "n.json", [row(0), row(1)])
    whole = answer(tmp_path / "a.jsonl", {0: ["Yes", "No", "No", "Yes"], 1: ["Yes"] * 4})
    cut = tmp_path / "cut.jsonl"
    cut.write_text("".join(whole.read_text().splitlines(keepends=True)[:7]))
    with pytest.raises(DataError, match="no answer to 1/q1_i1"):
        score("naturalbench", cut, options={"questions": questions})
    result = score("naturalbench", cut, options={"questions": questions}, lenient=True).result
    assert (result.to_dict()["g_acc"], result.to_dict()["n"]) == (1, 7)
    assert any("1 groups lack an answer" in warning for warning in result.warnings)


def test_the_questions_are_the_official_ones_and_groups_stay_together(tmp_path: Path) -> None:
    questions = write(tmp_path / "n.json", [row(0), row(1, "multiple_choice")])
    made = create("naturalbench", {"questions": questions, "images": tmp_path})
    items = made.load(Problems(lenient=False)).items
    assert [item.id for item in items[:4]] == ["0/q0_i0", "0/q0_i1", "0/q1_i0", "0/q1_i1"]
    assert items[0].question == "Is it red?Please answer Yes or No."
    assert items[4].question.endswith(
        "?Please output the letter corresponding to the correct option."
    )
    assert [item.image for item in items[:2]] == [tmp_path / "0a.png", tmp_path / "0b.png"]
    assert first_images(items, 1) == list(items[:4])


def test_parquet_holds_the_images(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")

    def png(level: int) -> dict[str, object]:
        buffer = io.BytesIO()
        Image.new("RGB", (2, 2), (level, 0, 0)).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    rows = [row(n) | {"Image_0": png(n), "Image_1": png(10 + n)} for n in range(3)]
    path = tmp_path / "n.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    items = create("naturalbench", {"questions": path}).load(Problems(lenient=False)).items
    levels = [item.shown().getpixel((0, 0))[0] for item in items]  # type: ignore[union-attr, index]
    assert levels == [0, 10, 0, 10, 1, 11, 1, 11, 2, 12, 2, 12]
    assert len(set(item_hashes(items).values())) == len(items)
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not readable as parquet"):
        create("naturalbench", {"questions": path}).load(Problems(lenient=False))


class Yes(FakeModel):
    """Says yes; the control greedy says no."""

    def _answer(self, method, seed, sample):  # type: ignore[no-untyped-def]
        return answered("No" if method == "greedy" else "Yes")


def test_a_run_counts_groups_and_limits_by_them(tmp_path: Path) -> None:
    for index in range(3):
        for name, level in (("a", 0), ("b", 100)):
            image = Image.new("RGB", (4, 4), (index, level, 0))
            image.save(tmp_path / f"{index}{name}.png")
    questions = write(tmp_path / "n.json", [row(0), row(1), row(2)])
    found = evaluate(
        "naturalbench",
        options={"questions": questions, "images": tmp_path},
        model=Yes(),  # type: ignore[arg-type]
        methods=["vcd"],
        limit=2,
        out=tmp_path / "out",
        resamples=99,
        progress=False,
    ).comparison
    assert (found.items, found.images, found.primary.name) == (8, 2, "g_acc")
    assert {row.metrics["accuracy"].mean for row in found.rows} == {0.5}
    assert {row.metrics["g_acc"].mean for row in found.rows} == {0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"Question_Type": "open"}, "Question_Type 'open' is none of yes_no, multiple_choice"),
        ({"Image_1_Question_0": "Maybe"}, "Image_1_Question_0 is 'Maybe', neither yes nor no"),
        ({"Question_1": None}, "no field 'Question_1'"),
        ({"Index": 1}, "1/q0_i0 stands there twice"),
    ],
)
def test_bad_records(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    questions = write(tmp_path / "n.json", [row(1), row(0) | changed])
    made = create("naturalbench", {"questions": questions})
    problems = Problems(lenient=False)
    made.load(problems)
    with pytest.raises(DataError, match=message):
        problems.settle()


def test_without_questions_it_is_refused() -> None:
    with pytest.raises(UserError, match="naturalbench: --questions is needed here"):
        create("naturalbench").load(Problems(lenient=False))


def test_the_scorer_sums_over_any_resample(tmp_path: Path) -> None:
    made = create("naturalbench", {"questions": write(tmp_path / "n.json", [row(0), row(1)])})
    task = made.load(Problems(lenient=False))
    given = [Response(text) for text in ("Yes", "No", "No", "Yes", "Yes", "Yes", "No", "No")]
    counts = task.scorer.count(task.items, given)
    # The first group drawn twice, the second never.
    sums = {name: 2 * values[:4].sum() for name, values in counts.columns.items()}
    assert task.scorer.metrics(sums)["g_acc"] == 1
