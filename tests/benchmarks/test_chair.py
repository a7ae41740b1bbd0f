"""CHAIR against values worked out by hand."""

import json
from pathlib import Path

import pytest

from secondsight.benchmarks import DataError, score_chair

INSTANCES = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}, {"id": 3}],
    "categories": [
        {"id": 18, "name": "dog"},
        {"id": 44, "name": "bottle"},
        {"id": 9, "name": "lamp"},
    ],
    "annotations": [
        {"image_id": 1, "category_id": 18},
        {"image_id": 1, "category_id": 18},
        {"image_id": 1, "category_id": 44},
        {"image_id": 2, "category_id": 9},
    ],
}
# Image 1 shows dog, bottle; 2 shows lamp; 3 nothing.
CAPTIONS = [
    {"image_id": 1, "caption": "A dog and another dog beside a cat."},  # 3 mentions, 1 absent
    {"image_id": 2, "caption": "Two lamps."},  # 1 mention, right
    {"image_id": "3", "caption": "A puppy on a boat"},  # 2 mentions, both absent
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    answers, instances = tmp_path / "answers.jsonl", tmp_path / "instances.json"
    answers.write_text("".join(json.dumps(line) + "\n" for line in CAPTIONS))
    instances.write_text(json.dumps(INSTANCES))
    return answers, instances


def test_metrics_by_hand(files: tuple[Path, Path]) -> None:
    found = score_chair(*files).to_dict()
    assert list(found) == [
        "chair_s", "chair_i", "recall", "precision", "f1", "mean_length", "n", "captions",
    ]  # fmt: skip
    captions = found.pop("captions")
    # Distinct objects named: dog, cat; lamp; dog, boat: 5, of them 2 shown; 3 objects shown.
    assert found == pytest.approx(
        {
            "chair_s": 2 / 3,
            "chair_i": 3 / 6,
            "recall": 2 / 3,
            "precision": 2 / 5,
            "f1": 2 * (2 / 3) * (2 / 5) / (2 / 3 + 2 / 5),
            "mean_length": (8 + 2 + 5) / 3,
            "n": 3,
        }
    )
    assert captions[0]["hallucinated"] == [
        {"start": 31, "end": 34, "text": "cat", "object": "cat", "hallucinated": True}
    ]
    assert [m["hallucinated"] for m in captions[0]["mentions"]] == [False, False, True]
    assert captions[0]["missed"] == ["bottle"]
    assert captions[2]["present"] == []


def test_reference_captions_add_to_the_truth(files: tuple[Path, Path], tmp_path: Path) -> None:
    references = tmp_path / "captions.json"
    references.write_text(
        json.dumps(
            {
                "annotations": [
                    {"image_id": 1, "caption": "A kitten looks."},
                    {"image_id": 77, "caption": "Another image."},
                ]
            }
        )
    )
    found = score_chair(*files, captions=references)
    assert found.chair_i == 2 / 6
    assert found.captions[0].present == {"dog", "bottle", "cat"}


def test_synonym_file_replaces_the_table(files: tuple[Path, Path], tmp_path: Path) -> None:
    synonyms = tmp_path / "synonyms.txt"
    synonyms.write_text("dog\nbottle, puppy\n")
    found = score_chair(*files, synonyms=synonyms)
    # Known now: dog, bottle (also "puppy") and the file's own lamp.
    assert [[m.object for m in caption.mentions] for caption in found.captions] == [
        ["dog", "dog"], ["lamp"], ["bottle"],
    ]  # fmt: skip


def test_drop_unfinished(files: tuple[Path, Path]) -> None:
    answers, instances = files
    lines = [
        {"image_id": 1, "caption": "A dog. A cat on"},
        {"image_id": 2, "caption": "A lamp. A cat on", "finish_reason": "eos"},
        {"image_id": 3, "caption": "A dog. A cat.", "finish_reason": "length"},
    ]
    answers.write_text("\n".join(map(json.dumps, lines)))
    # Image 3 shows nothing: both its mentions are wrong.
    assert score_chair(answers, instances).chair_i == 4 / 6
    assert score_chair(answers, instances, drop_unfinished=True).chair_i == 3 / 5


def test_unknown_images_are_named_or_counted(files: tuple[Path, Path]) -> None:
    answers, instances = files
    answers.write_text('{"image_id": 1, "caption": "A dog."}\n{"image_id": 9, "caption": "A cat."}')
    with pytest.raises(DataError, match=r"answers.jsonl:2: image_id 9 is not in .*instances.json"):
        score_chair(answers, instances)
    found = score_chair(answers, instances, lenient=True)
    assert (found.n, found.chair_i) == (1, 0)
    assert found.warnings[0].startswith("1 x unknown image_id")


def test_nothing_usable_is_an_error_even_if_lenient(files: tuple[Path, Path]) -> None:
    answers, instances = files
    answers.write_text('{"image_id": 9, "caption": "A cat."}')
    with pytest.raises(DataError, match="holds no usable answer to instances"):
        score_chair(answers, instances, lenient=True)


def test_files_not_in_coco_format_are_errors(files: tuple[Path, Path]) -> None:
    answers, instances = files
    instances.write_text('{"images": []}')
    with pytest.raises(DataError, match="no list 'annotations', 'categories'"):
        score_chair(answers, instances)
    broken = {**INSTANCES, "annotations": [{"image_id": 1, "category_id": 999}]}
    instances.write_text(json.dumps(broken))
    with pytest.raises(DataError, match="annotation 0: no such 999"):
        score_chair(answers, instances)
    instances.write_text('{"images": [],\n "annotations": [')
    with pytest.raises(DataError, match=r"instances.json:2: not JSON"):
        score_chair(answers, instances)


def test_json_array_of_captions_is_read_too(files: tuple[Path, Path]) -> None:
    answers, instances = files
    expected = score_chair(answers, instances)
    answers.write_text(json.dumps(CAPTIONS))
    assert score_chair(answers, instances) == expected
