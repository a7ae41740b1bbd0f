"""POPE against values worked out by hand."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondsight.benchmarks import DataError, score_pope, score_yes_no
from secondsight.benchmarks.yesno import PARSERS, first_standalone
from secondsight.errors import UserError

DATA = Path(__file__).parent / "data"
QUESTIONS, ANSWERS = DATA / "disagree_questions.jsonl", DATA / "disagree_answers.jsonl"

# Question:     1    2    3    4    5    6    7    8    9    10   11   12   13   14   15
# Label:        yes  no   no   yes  yes  no   yes  no   yes  yes  no   yes  no   no   no
# strict:       yes  -    -    no   -    -    no   no   no   yes  -    yes  yes  yes  yes
#   right: 1, 8, 10, 12; yes: 1, 10, 12, 13, 14, 15, three of them right
# official:     yes  no   yes  no   yes  yes  yes  yes  yes  yes  yes  yes  yes  yes  yes
#   right: 1, 2, 5, 7, 9, 10, 12; yes: all but 2 and 4, six of them right
# vcd-2023:     yes  no   no   yes  no   no   no   no   no   yes  no   yes  no   no   yes
#   right: all but 5, 7, 9, 15; yes: 1, 4, 10, 12, 15, four of them right
# ritual-2024:  yes  no   yes  no   no   yes  no   yes  yes, no (two lines: 9) yes (10) yes (11)
#               yes (12) yes (13) yes, no (14) yes (15): 17 predictions, of which the first 15
#               are held against the labels in turn:
#               yes  no   yes  no   no   yes  no   yes  yes  no   yes  yes  yes  yes  yes
#   right: 1, 2, 9, 12; yes: 1, 3, 6, 8, 9, 11 to 15, three of them right; of all 17 eleven
BY_HAND = {
    "strict": {
        "accuracy": Fraction(4, 15),
        "precision": Fraction(3, 6),
        "recall": Fraction(3, 7),
        "f1": Fraction(6, 13),
        "yes_ratio": Fraction(6, 15),
        "n": 15,
        "unparsed": 5,
    },
    "official": {
        "accuracy": Fraction(7, 15),
        "precision": Fraction(6, 13),
        "recall": Fraction(6, 7),
        "f1": Fraction(12, 20),
        "yes_ratio": Fraction(13, 15),
        "n": 15,
        "unparsed": 0,
    },
    "vcd-2023": {
        "accuracy": Fraction(11, 15),
        "precision": Fraction(4, 5),
        "recall": Fraction(4, 7),
        "f1": Fraction(8, 12),
        "yes_ratio": Fraction(5, 15),
        "n": 15,
        "unparsed": 0,
    },
    "ritual-2024": {
        "accuracy": Fraction(4, 15),
        "precision": Fraction(3, 10),
        "recall": Fraction(3, 7),
        "f1": Fraction(6, 17),
        "yes_ratio": Fraction(11, 17),
        "n": 15,
        "unparsed": 0,
    },
}


def lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def question(identifier: object, label: str = "yes") -> dict[str, object]:
    return {"question_id": identifier, "image": "1.jpg", "text": "Is it?", "label": label}


@pytest.mark.parametrize("parser", PARSERS)
def test_parsers_disagree_as_worked_out_by_hand(parser: str) -> None:
    found = score_pope(QUESTIONS, ANSWERS, parser=parser).to_dict()
    found.pop("warnings", None)
    assert found == pytest.approx({name: float(v) for name, v in BY_HAND[parser].items()})


def test_json_keys_are_those_documented() -> None:
    assert list(score_pope(QUESTIONS, ANSWERS).to_dict()) == [
        "accuracy", "precision", "recall", "f1", "yes_ratio", "n", "unparsed",
    ]  # fmt: skip


def test_ritual_quirk_warns_with_its_counts() -> None:
    (warning,) = score_pope(QUESTIONS, ANSWERS, parser="ritual-2024").warnings
    assert "2 answers have several lines, 2 predictions too many" in warning
    assert "the labels of 6 questions after number 9" in warning
    assert score_yes_no(["yes"], ["Yes\n"], parser="ritual-2024").warnings == ()


def test_yes_ratio_is_of_the_answers_not_of_the_labels() -> None:
    assert score_yes_no(["yes", "yes", "yes", "no"], ["no", "no", "no", "yes"]).yes_ratio == 0.25


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There isn't a dog.", "yes"),  # no word of it is No, not or no
        ("There is no dog", "no"),
        ("Yes. Not sure", "yes"),  # the first sentence alone
        ("No, there is", "no"),
        ("NO", "yes"),
        ("(No)", "yes"),
        ("No\tdog", "yes"),  # only blanks part words
        ("", "yes"),
        (".No", "yes"),
    ],
)
def test_the_official_parser(text: str, expected: str) -> None:
    assert score_yes_no(["yes"], [text], parser="official").accuracy == (expected == "yes")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", "yes"),
        ("  NO, nothing", "no"),
        ("The answer is yes.", "yes"),
        ("Nobody knows yesterday", "unparsed"),
        ("no-one, yes", "yes"),
        ("There's no dog; yes, none", "no"),
        ("**Yes**", "yes"),
        ("_Yes_, but no", "yes"),
        ("-No", "no"),
        ("Yes\u2014there is", "yes"),
        ("a hell-yes moment", "unparsed"),
        ("no_entry sign: yes", "no"),
        ("No's and yes's", "unparsed"),
        ("", "unparsed"),
        ("не знаю", "unparsed"),
    ],
)
def test_strict_takes_the_first_standalone_word(text: str, expected: str) -> None:
    assert first_standalone(text) == expected


def test_answer_field_and_text_ids_are_accepted(tmp_path: Path) -> None:
    questions = lines(tmp_path / "q", question(1), question("b", "no"))
    answers = lines(
        tmp_path / "a", {"question_id": "b", "answer": "no"}, {"question_id": "1", "text": "yes"}
    )
    assert score_pope(questions, answers).accuracy == 1


def test_order_of_answers_does_not_matter_even_to_ritual(tmp_path: Path) -> None:
    shuffled = tmp_path / "a"
    shuffled.write_text("\n".join(reversed(ANSWERS.read_text().splitlines())))
    for parser in PARSERS:
        assert score_pope(QUESTIONS, shuffled, parser=parser) == score_pope(
            QUESTIONS, ANSWERS, parser=parser
        )


BAD = {
    "unknown question_id": ([question(1)], ['{"question_id": 1, "text": "yes"}',
                            '{"question_id": 7, "text": "yes"}'], "a:2: question_id 7"),
    "duplicate answer": ([question(1)], ['{"question_id": 1, "text": "yes"}'] * 2,
                         "a:2: question_id 1 was answered before"),
    "duplicate question": ([question(1), question(1)], ['{"question_id": 1, "text": "yes"}'],
                           "q:2: question_id 1 stands there twice"),
    "missing answer": ([question(1), question(2)], ['{"question_id": 1, "text": "yes"}'],
                       "no answer to 2"),
    "bad label": ([question(1), question(2, "maybe")], ['{"question_id": 1, "text": "yes"}'],
                  "q:2: label 'maybe' is neither yes nor no"),
    "malformed line": ([question(1)], ['{"question_id": 1, "text": "yes"}', "", '{"quest'],
                       "a:3: not JSON"),
    "not an object": ([question(1)], ['{"question_id": 1, "text": "yes"}', "[1]"],
                      "a:2: not a JSON object"),
    "no text": ([question(1)], ['{"question_id": 1, "text": "yes"}', '{"question_id": 1}'],
                "a:2: no field with the reply, such as 'text', 'answer'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_file_and_line_or_is_counted(case: str, tmp_path: Path) -> None:
    asked, given_lines, message = BAD[case]
    questions = lines(tmp_path / "q", *asked)
    answers = tmp_path / "a"
    answers.write_text("\n".join(given_lines))
    with pytest.raises(DataError) as error:
        score_pope(questions, answers)
    assert message in str(error.value)
    lenient = score_pope(questions, answers, lenient=True)
    assert lenient.n == 1
    assert lenient.accuracy == 1
    assert len(lenient.warnings) == 1
    assert lenient.warnings[0].startswith("1 x ")
    assert lenient.to_dict()["warnings"] == list(lenient.warnings)


@pytest.mark.parametrize("lenient", [False, True])
def test_files_that_hold_nothing_are_errors(tmp_path: Path, lenient: bool) -> None:
    empty = tmp_path / "empty"
    empty.write_text(" \n")
    with pytest.raises(DataError, match="empty: the file is empty"):
        score_pope(QUESTIONS, empty, lenient=lenient)
    with pytest.raises(DataError, match="no such file"):
        score_pope(tmp_path / "absent", ANSWERS, lenient=lenient)
    with pytest.raises(DataError, match="is a directory"):
        score_pope(tmp_path, ANSWERS, lenient=lenient)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        score_pope(binary, ANSWERS, lenient=lenient)


def test_unknown_parser_is_refused() -> None:
    with pytest.raises(UserError, match="parser cannot be 'lax'"):
        score_pope(QUESTIONS, ANSWERS, parser="lax")


def test_many_problems_are_listed_together_and_cut_short(tmp_path: Path) -> None:
    questions = lines(tmp_path / "q", *(question(index) for index in range(30)))
    with pytest.raises(DataError, match="and 9 more"):
        score_pope(questions, lines(tmp_path / "a", {"question_id": 0, "text": "no"}))


def obvious(labels: list[str], predictions: list[str]) -> dict[str, float]:
    """The confusion matrix, slowly."""
    pairs = list(zip(predictions, labels, strict=True))
    tp, fp = pairs.count(("yes", "yes")), pairs.count(("yes", "no"))
    tn = pairs.count(("no", "no"))
    positives = labels.count("yes")
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / positives if positives else 0.0
    return {
        "accuracy": (tp + tn) / len(labels),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "yes_ratio": predictions.count("yes") / len(predictions),
        "n": len(labels),
        "unparsed": predictions.count("unparsed"),
    }


@given(
    st.lists(
        st.tuples(st.sampled_from(["yes", "no"]), st.sampled_from(["yes", "no", "unparsed"])),
        min_size=1,
    )
)
def test_metrics_equal_the_obvious_confusion_matrix(pairs: list[tuple[str, str]]) -> None:
    labels, predictions = [p[0] for p in pairs], [p[1] for p in pairs]
    texts = [{"unparsed": "perhaps"}.get(p, p) for p in predictions]
    assert score_yes_no(labels, texts).to_dict() == pytest.approx(obvious(labels, predictions))
