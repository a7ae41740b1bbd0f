"""The comparison table and its verdicts."""

import json
import re

import pytest

from secondsight.benchmarks import YES_NO_METRICS, Item, Response, Task, YesNoScorer
from secondsight.benchmarks.chair import METRICS, ChairScorer
from secondsight.benchmarks.comparison import Comparison, Row, compare
from secondsight.errors import UserError
from secondsight.objects.lexicon import coco_lexicon

CONTROLS = ("greedy", "sharpened")


def items(images: int, per_image: int = 2) -> list[Item]:
    """Questions whose labels alternate yes, no."""
    return [
        Item(f"{image}-{q}", str(image), None, "?", {"label": "no" if q % 2 else "yes"})
        for image in range(images)
        for q in range(per_image)
    ]


def texts(asked: list[Item], wrong: set[int]) -> list[Response]:
    flip = {"yes": "no", "no": "yes"}
    return [
        Response(flip[item.truth["label"]] if number in wrong else item.truth["label"])
        for number, item in enumerate(asked)
    ]


def pope(asked: list[Item]) -> Task:
    return Task("questions", tuple(asked), YesNoScorer(), YES_NO_METRICS)


def table(wrong: dict[str, list[set[int]]], images: int = 60, controls=CONTROLS) -> Comparison:
    """A comparison in which each method errs at the given questions, seed by seed."""
    asked = items(images)
    answers = {
        method: {seed: texts(asked, errors) for seed, errors in enumerate(by_seed)}
        for method, by_seed in wrong.items()
    }
    return compare("pope", pope(asked), asked, answers, controls, resamples=999)


def row(comparison: Comparison, method: str) -> Row:
    return next(row for row in comparison.rows if row.method == method)


SEVENTY, SIXTY, FORTY, NONE = set(range(70)), set(range(60)), set(range(40)), set()


def test_better_than_its_controls() -> None:
    found = row(
        table({"regular": [SEVENTY], "m": [NONE], "greedy": [FORTY], "sharpened": [SIXTY]}), "m"
    )
    assert found.verdict == "better than its controls"
    assert found.versus_best_control is not None
    assert found.versus_best_control.against == "greedy"
    assert found.versus_best_control.difference == pytest.approx(40 / 120)
    assert (found.versus_best_control.gained, found.versus_best_control.lost) == (40, 0)
    assert found.versus_regular is not None
    assert found.versus_regular.p == pytest.approx(2 / 2**70)


def test_no_better_than_sharpening() -> None:
    comparison = table(
        {"regular": [SEVENTY], "m": [FORTY], "greedy": [FORTY], "sharpened": [SIXTY]}
    )
    assert row(comparison, "m").verdict == "no better than sharpening"


def test_worse_than_a_control_is_no_better_than_sharpening() -> None:
    comparison = table(
        {"regular": [SEVENTY], "m": [SEVENTY], "greedy": [NONE], "sharpened": [SIXTY]}
    )
    assert row(comparison, "m").verdict == "no better than sharpening"


def test_not_distinguishable_says_how_many_images() -> None:
    found = row(
        table({"regular": [{0, 1, 2}], "m": [{0}], "greedy": [{1, 2}], "sharpened": [{0, 4}]}), "m"
    )
    assert found.versus_best_control is not None
    needed = found.versus_best_control.images_needed
    assert needed is not None
    assert needed > 60
    assert found.verdict == f"not distinguishable at this size (n needed: {needed} images)"
    same = row(table({"regular": [NONE], "m": [NONE], "greedy": [NONE], "sharpened": [NONE]}), "m")
    assert (
        same.verdict == "not distinguishable at this size (n needed: unknown, no difference seen)"
    )


def test_a_tiny_difference_asks_for_no_absurd_number_of_images() -> None:
    asked = [Item(str(n), str(n), None, "?", {"present": ["dog"]}) for n in range(40)]
    task = Task("captions", tuple(asked), ChairScorer(coco_lexicon()), METRICS)
    many = "A dog. " * 2000
    answers = {
        "regular": {0: [Response(many)] * 40},
        "m": {0: [Response(many + "A cat." * (n == 0) + "A dog." * (n == 1)) for n in range(40)]},
        "greedy": {0: [Response(many + "A cat." * (n == 2)) for n in range(40)]},
    }
    found = row(compare("chair", task, asked, answers, ("greedy",), resamples=199), "m")
    assert found.versus_best_control is not None
    assert abs(found.versus_best_control.difference) < 1e-8
    assert found.verdict is not None
    number = re.search(r"n needed: (.*)\)", found.verdict)
    assert number is not None
    assert number[1] in ("over 1,000,000 images", "unknown, no difference seen")


def test_without_controls_no_verdict_is_given() -> None:
    found = row(table({"regular": [SEVENTY], "m": [NONE]}, controls=()), "m")
    assert found.verdict == "controls were not run"
    assert found.versus_best_control is None


def test_holm_covers_the_whole_table() -> None:
    comparison = table(
        {"regular": [SEVENTY], "m": [NONE], "k": [FORTY], "greedy": [FORTY], "sharpened": [SIXTY]}
    )
    pairs = [
        pair
        for method in ("m", "k")
        for pair in (
            row(comparison, method).versus_regular,
            row(comparison, method).versus_best_control,
        )
        if pair is not None
    ]
    smallest = min(pairs, key=lambda pair: pair.p)
    assert smallest.p_holm == pytest.approx(4 * smallest.p)
    assert all(pair.p_holm >= pair.p for pair in pairs)


def test_seeds_are_averaged_and_add_no_questions() -> None:
    once = row(
        table({"regular": [FORTY], "m": [NONE], "greedy": [FORTY], "sharpened": [SIXTY]}), "m"
    )
    thrice = row(
        table(
            {
                "regular": [FORTY] * 3,
                "m": [NONE] * 3,
                "greedy": [FORTY] * 3,
                "sharpened": [SIXTY] * 3,
            }
        ),
        "m",
    )
    assert thrice.versus_regular == once.versus_regular
    mixed = row(
        table({"regular": [NONE, FORTY], "greedy": [FORTY] * 2, "sharpened": [SIXTY] * 2}),
        "regular",
    )
    assert mixed.metrics["accuracy"].seeds == (1.0, pytest.approx(80 / 120))
    assert mixed.metrics["accuracy"].mean == pytest.approx(100 / 120)


def test_transitions_by_hand() -> None:
    # Question 0 (label yes) and 1 (no) wrong before, 2 (yes) and 3 (no) wrong now.
    found = row(
        table({"regular": [{0, 1}], "m": [{2, 3}], "greedy": [NONE]}, controls=("greedy",)), "m"
    )
    assert found.transitions is not None
    assert found.transitions.yes_to_no == 2  # 1 (right now), 2 (wrong now)
    assert found.transitions.yes_to_no_right == 1
    assert found.transitions.no_to_yes == 2
    assert found.transitions.no_to_yes_right == 1


def test_interval_is_over_images_not_over_questions() -> None:
    # All questions of an image right or all wrong: 20 images, however many questions each.
    few = compare_by_image(2)
    many = compare_by_image(20)
    assert many.low is not None
    assert few.low is not None
    assert many.low == pytest.approx(few.low, abs=0.02)
    assert many.low < 0.35


def compare_by_image(per_image: int):
    asked = items(20, per_image)
    wrong = {n for n, item in enumerate(asked) if int(item.image_id) % 2}
    answers = {"regular": {0: texts(asked, wrong)}}
    found = compare("pope", pope(asked), asked, answers, resamples=999)
    return found.rows[0].metrics["accuracy"]


def test_captions_are_compared_by_paired_bootstrap() -> None:
    asked = [Item(str(n), str(n), None, "?", {"present": ["dog"]}) for n in range(40)]
    task = Task("captions", tuple(asked), ChairScorer(coco_lexicon()), METRICS)
    answers = {
        "regular": {0: [Response("A dog and a cat.")] * 40},
        "m": {0: [Response("A dog.")] * 40},
        "greedy": {0: [Response("A dog and a cat.")] * 40},
    }
    found = row(compare("chair", task, asked, answers, ("greedy",), resamples=999), "m")
    assert found.verdict == "better than its controls"
    assert found.versus_regular is not None
    assert found.versus_regular.test == "paired bootstrap"
    assert found.versus_regular.difference == -0.5
    assert found.transitions is None
    assert {"recall", "mean_length"} <= set(found.metrics)


def test_a_shorter_answer_is_a_control_of_its_own_method_alone() -> None:
    asked = [Item(str(n), str(n), None, "?", {"present": ["dog", "bird"]}) for n in range(40)]
    task = Task("captions", tuple(asked), ChairScorer(coco_lexicon()), METRICS)
    texts = {
        "regular": "A dog. A bird. A cat.", "short": "A bird. A dog.", "honest": "A dog. A bird.",
        "long": "A dog and a bird and a kite.", "greedy": "A dog. A bird. A cat. A cat.",
    }  # fmt: skip
    answers = {method: {0: [Response(text)] * 40} for method, text in texts.items()}
    found = compare(
        "chair", task, asked, answers, ("greedy",), equal_length=("short", "long"), resamples=999
    )
    assert [row.method for row in found.rows] == [
        *texts, "regular cut to short", "regular cut to long",
    ]  # fmt: skip
    against = {
        row.method: row.versus_best_control.against
        for row in found.rows
        if row.versus_best_control is not None
    }
    assert against == {
        "short": "regular cut to short", "long": "regular cut to long", "honest": "greedy",
    }  # fmt: skip
    assert row(found, "honest").verdict == "better than its controls"
    assert row(found, "short").verdict == "no better than sharpening"
    assert row(found, "regular cut to short").metrics["mean_length"].mean == 4
    assert row(found, "regular cut to long").metrics["mean_length"].mean == 6  # it has no more
    assert found.lengths is not None
    assert [row.method for row in found.lengths.rows] == list(texts)
    with pytest.raises(UserError, match=r"shrt is not among the methods.* 'short'"):
        compare("chair", task, asked, answers, equal_length=("shrt",))
    asked = items(2)
    yes_no = {method: {0: [Response("Yes.")] * 4} for method in ("regular", "m")}
    with pytest.raises(UserError, match="asks for no captions"):
        compare("pope", pope(asked), asked, yes_no, equal_length=("m",))


def test_one_image_gives_no_interval() -> None:
    asked = items(1)
    found = compare("pope", pope(asked), asked, {"regular": {0: texts(asked, {0})}})
    assert found.rows[0].metrics["accuracy"].low is None
    assert found.rows[0].metrics["accuracy"].mean == 0.5


def test_result_is_json_ready() -> None:
    comparison = table({"regular": [SEVENTY], "m": [NONE], "greedy": [FORTY], "sharpened": [SIXTY]})
    assert json.loads(json.dumps(comparison.to_dict()))["rows"][1]["verdict"]
