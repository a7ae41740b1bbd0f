"""AMBER against values worked out by hand."""

import json
import re
import sys
from pathlib import Path

import pytest

from secondsight.benchmarks import Amber, DataError, Response, score_amber
from secondsight.benchmarks.amber import read_vocabulary
from secondsight.benchmarks.records import Problems
from secondsight.errors import UserError

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


def test_the_official_parser_wants_the_bare_word(folder: Path) -> None:
    texts = {3: "No", 4: "Yes", 5: "No.", 6: "no"}  # labels: no, yes, no, no
    given = [{"id": number, "response": text} for number, text in texts.items()]
    path = answers(folder, given)
    strict = score_amber(path, folder).discriminative
    official = score_amber(path, folder, parser="official").discriminative
    assert strict is not None
    assert official is not None
    assert (strict.accuracy, strict.unparsed) == (1, 0)
    # One bare No among three labels no; "No." and "no" are neither.
    found = (official.accuracy, official.precision, official.recall, official.unparsed)
    assert found == pytest.approx((2 / 4, 1, 1 / 3, 2))
    with pytest.raises(UserError, match="amber: parser cannot be 'lax'"):
        score_amber(path, folder, parser="lax")


def test_related_words_come_before_the_annotated_ones(folder: Path) -> None:
    # "ground" stands for grass by relation.json, before it stands for itself: one of two covered.
    words = {**RELATED, "grass": ["ground"], "ground": ["floor"], "picture": []}
    (folder / "relation.json").write_text(json.dumps(words))
    truth = {"id": 1, "type": "generative", "truth": ["ground", "grass"], "hallu": []}
    (folder / "annotations.json").write_text(json.dumps([truth]))
    path = answers(folder, [{"id": 1, "response": "Grass on the ground."}])
    found = score_amber(path, folder).generative
    assert found is not None
    assert (found.cover, found.chair) == (0.5, 0.0)


def test_kinds_without_a_dimension_of_their_own_are_relations(folder: Path) -> None:
    (folder / "annotations.json").write_text(
        json.dumps([{"id": 1, "type": "relation", "truth": "no"}])
    )
    found = score_amber(answers(folder, [{"id": 1, "response": "No"}]), folder)
    assert found.dimensions["relation"].accuracy == 1


def test_a_spacy_pipeline_finds_nouns_and_near_synonyms(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Token:
        def __init__(self, text: str) -> None:
            self.lemma_ = text.removesuffix("s")
            self.pos_ = "VERB" if text == "grass" else "NOUN"

    class Parsed(list[Token]):
        def similarity(self, other: "Parsed") -> float:
            return 0.81 if {self[0].lemma_, other[0].lemma_} == {"tree", "gras"} else 0.8

    class Pipeline:
        vocab = type("Vocab", (), {"vectors_length": 300})

        def __call__(self, text: str) -> Parsed:
            return Parsed(map(Token, re.findall(r"\w+", text)))

    def load(name: str) -> Pipeline:
        if name != "vectors":
            raise OSError(name)
        return Pipeline()

    monkeypatch.setitem(sys.modules, "spacy", type("spacy", (), {"load": staticmethod(load)}))
    path = answers(folder, [{"id": 1, "response": "A dogs on grass, a tree, a kitten"}])
    found = score_amber(path, folder, similar="vectors", lenient=True).generative
    assert found is not None
    # The tagger calls grass a verb; the tree is near to it and covers it; the kitten is absent.
    assert (found.cover, found.chair, found.cog) == (1.0, 1 / 3, 1 / 2)
    with pytest.raises(UserError, match="no pipeline 'other'"):
        score_amber(path, folder, similar="other")
    monkeypatch.setattr(Pipeline.vocab, "vectors_length", 0)
    with pytest.raises(UserError, match="has no word vectors"):
        score_amber(path, folder, similar="vectors")


@pytest.mark.parametrize(
    ("text", "nouns"),
    [
        ("A dog can be seen.", ["dog"]),
        ("The dog can also play with a trash can.", ["dog", "can"]),
        ("Two cans on hot grass.", ["can", "grass"]),
        ("People watch a dog with a silver watch.", ["dog", "watch"]),
        ("A dog wants to watch.", ["dog"]),
        ("Leaves on the grass.", ["grass"]),
        ("The TV and an e-book, snow-covered grass.", ["TV", "e-book", "grass"]),
    ],
)
def test_nouns_without_a_tagger(folder: Path, text: str, nouns: list[str]) -> None:
    words = ["dog", "can", "hot", "watch", "leave", "grass", "TV", "e-book", "snow"]
    (folder / "relation.json").write_text(json.dumps({word: [] for word in words}))
    assert read_vocabulary(folder).named(text) == nouns


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
        ([*RESPONSES, {"id": 99, "response": "Yes"}], "record 7: id 99 is not in annotations.json"),
        ([*RESPONSES, RESPONSES[0]], "record 7: id 1 was answered before"),
        ([RESPONSES[0], *RESPONSES[2:]], "no answer to 2"),
        ([*RESPONSES, {"id": 2}], "record 7: no field with the reply"),
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


QUERIES = [
    {"id": 1, "image": "a.jpg", "query": "Describe this image."},
    {"id": 3, "image": "a.jpg", "query": "Is there a cat?"},
    {"id": 4, "image": "b.jpg", "query": "Is the dog old?"},
]


@pytest.mark.parametrize(
    ("asked", "primary", "higher", "shown"),
    [
        (QUERIES, "amber_score", True, {"amber_score", "chair", "f1"}),
        (QUERIES[:1], "chair", False, {"chair", "cover", "hal", "cog"}),
        (QUERIES[1:], "f1", True, {"f1", "accuracy"}),
    ],
)
def test_one_half_alone_is_judged_by_its_own_metric(
    folder: Path, asked: list[dict[str, object]], primary: str, higher: bool, shown: set[str]
) -> None:
    (folder / "queries.json").write_text(json.dumps(asked))
    amber = Amber(annotations=folder, questions=folder / "queries.json", images=folder)
    task = amber.load(Problems(lenient=False))
    assert (task.primary.name, task.primary.better == "more") == (primary, higher)
    given = [Response("A dog and a cat." if item.id == "1" else "No") for item in task.items]
    values = task.scorer.metrics(task.scorer.count(task.items, given).totals())
    found = [metric.name for metric in task.compared(list(values))]
    assert shown <= set(found)
    assert ("amber_score" in found) == (primary == "amber_score")
    assert found[0] == primary
    assert not any(name.startswith(("number.", "relation.")) for name in found)
    assert ("attribute.f1" in found) == (len(asked) > 1)
