"""AMBER against values worked out by hand."""

import json
from pathlib import Path

import pytest

from secondsight.benchmarks import DataError, score_amber

ANNOTATIONS = [
    {"id": 1, "type": "generative", "truth": ["dog", "grass"], "hallu": ["cat", "ball"]},
    {"id": 2, "type": "generative", "truth": ["sea"], "hallu": ["boat"]},
    {"id": 3, "type": "discriminative-hallucination", "truth": "no"},
    {"id": 4, "type": "discriminative-attribute-state", "truth": "yes"},
    {"id": 5, "type": "discriminative-attribute-number", "truth": "no"},
    {"id": 6, "type": "discriminative-relation", "truth": "no"},
]
RELATED = {
    "dog": ["puppy"], "cat": ["kitten"], "grass": ["lawn"], "sea": ["ocean"], "ball": [],
    "boat": ["ship"], "tree": [],
}  # fmt: skip
RESPONSES = [
    # puppy and grass are true, kitten and tree are absent (kitten a foreseen one), picture is safe.
    {"id": 1, "response": "Two puppies on the grass, a kitten, a tree, in this picture."},
    {"id": 2, "response": "The ocean."},
    {"id": 3, "response": "No"},
    {"id": 4, "response": "No"},
    {"id": 5, "response": "Yes"},
    {"id": 6, "response": "It depends."},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "annotations.json").write_text(json.dumps(ANNOTATIONS))
    (tmp_path / "relation.json").write_text(json.dumps({**RELATED, "picture": []}))
    (tmp_path / "safe_words.txt").write_text("picture\nimage\n")
    return tmp_path


def answers(folder: Path, responses: list[dict[str, object]]) -> Path:
    path = folder / "answers.json"
    path.write_text(json.dumps(responses))
    return path


def test_scores_by_hand(folder: Path) -> None:
    found = score_amber(answers(folder, RESPONSES), folder).to_dict()
    # Mentions: puppies, grass, kitten, tree, picture; ocean.
    assert found["generative"] == pytest.approx(
        {"chair": 2 / 6, "cover": 3 / 3, "hal": 1 / 2, "cog": 1 / 3, "n": 2}
    )
    dimensions = found["discriminative"].pop("dimensions")
    # Answers no: ids 3 (right) and 4 (wrong); labels no: 3, 5, 6.
    f1 = 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)
    assert found["discriminative"] == pytest.approx(
        {"accuracy": 1 / 4, "precision": 1 / 2, "recall": 1 / 3, "f1": f1, "n": 4, "unparsed": 1}
    )
    assert found["amber_score"] == pytest.approx((100 - 100 * 2 / 6 + 100 * f1) / 2)
    assert dimensions["existence"]["accuracy"] == 1
    assert dimensions["attribute"]["n"] == 2
    assert list(dimensions) == ["existence", "attribute", "state", "number", "relation"]


def test_near_synonyms_by_the_callers_judgement(folder: Path) -> None:
    def similar(first: str, second: str) -> bool:
        return {first, second} in ({"tree", "grass"}, {"kitten", "cat"})

    found = score_amber(answers(folder, RESPONSES), folder, similar=similar)
    assert found.generative is not None
    assert found.generative.chair == 1 / 6  # the tree is forgiven, the kitten is not


def test_one_half_alone_has_no_amber_score(folder: Path) -> None:
    generative = score_amber(answers(folder, RESPONSES[:2]), folder)
    assert generative.discriminative is None
    assert generative.amber_score is None
    discriminative = score_amber(answers(folder, RESPONSES[2:]), folder)
    assert discriminative.generative is None


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ([*RESPONSES, {"id": 99, "response": "Yes"}], "record 7: id 99 has no annotation"),
        ([*RESPONSES, RESPONSES[0]], "record 7: id 1 was answered before"),
        ([RESPONSES[0], *RESPONSES[2:]], "no answer to id 2"),
        ([*RESPONSES, {"id": 2}], "record 7: no field 'response'"),
        ([*RESPONSES, 3], "record 7: not a JSON object"),
    ],
)
def test_bad_input(folder: Path, responses: list[dict[str, object]], message: str) -> None:
    path = answers(folder, responses)
    with pytest.raises(DataError) as error:
        score_amber(path, folder)
    assert message in str(error.value)
    assert len(score_amber(path, folder, lenient=True).warnings) == 1


def test_a_missing_file_of_the_folder_is_named(folder: Path) -> None:
    (folder / "relation.json").unlink()
    with pytest.raises(DataError, match=r"relation\.json: no such file"):
        score_amber(answers(folder, RESPONSES), folder)
