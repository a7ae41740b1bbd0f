"""Captions against shorter ones: by a slow count of words and names, and by what must hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from secondsight.benchmarks import Item, Response, Task
from secondsight.benchmarks.amber import AmberScorer, Vocabulary, _metrics
from secondsight.benchmarks.chair import METRICS, ChairScorer
from secondsight.benchmarks.comparison import compare
from secondsight.benchmarks.length_control import LengthControl, LengthRow
from secondsight.objects.lexicon import coco_lexicon

PRESENT = ("dog", "cat", "bird")
ABSENT = ("car", "bus", "boat")
SERIES = (5, 10, 15, 20, 25, 30, 40, 50, 60)


def chair(images: int, **options: bool) -> Task:
    items = tuple(
        Item(str(n), str(n), None, "?", {"present": list(PRESENT)}) for n in range(images)
    )
    return Task("captions", items, ChairScorer(coco_lexicon(), **options), METRICS)


def control(
    captions: Mapping[str, Sequence[Sequence[str]]],
    controls: Sequence[str] = (),
    resamples: int = 19,
    **options: bool,
) -> LengthControl:
    """Captions of each method by seed and image, as `compare` holds them against shorter ones."""
    task = chair(len(next(iter(captions.values()))[0]), **options)
    answers = {
        method: {seed: [Response(text) for text in texts] for seed, texts in enumerate(by_seed)}
        for method, by_seed in captions.items()
    }
    found = compare("chair", task, task.items, answers, controls, resamples=resamples).lengths
    assert found is not None
    return found


def row(found: LengthControl, method: str) -> LengthRow:
    return next(row for row in found.rows if row.method == method)


# A slow version: captions are lists of lower-case words and full stops.


def words(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


def score(texts: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Recall and CHAIRi of captions by seed and image, averaged over the seeds."""
    recalls, shares = [], []
    for by_image in texts:
        named = [word for text in by_image for word in words(text) if word in PRESENT + ABSENT]
        recalled = sum(len(set(words(text)) & set(PRESENT)) for text in by_image)
        recalls.append(recalled / (len(PRESENT) * len(by_image)))
        shares.append(sum(word in ABSENT for word in named) / len(named) if named else 0)
    return float(np.mean(recalls)), float(np.mean(shares))


def to_words(text: str, count: int) -> str:
    return " ".join(words(text)[:count]) if count < len(words(text)) else text


def to_sentences(text: str, count: int) -> str:
    return ".".join(text.split(".")[:count]) + "."


def baselines(texts: Sequence[Sequence[str]]) -> list[tuple[float, float]]:
    """Recall and CHAIRi of the captions cut in every way that shortens one, and whole."""
    every = [text for by_image in texts for text in by_image]
    longest, most = max(len(words(text)) for text in every), max(t.count(".") for t in every)
    ways = [[[to_words(t, n) for t in of] for of in texts] for n in SERIES if n < longest]
    ways += [[[to_sentences(t, n) for t in of] for of in texts] for n in range(1, most)]
    return [score(way) for way in [*ways, texts]]


def frontier(points: Sequence[tuple[float, float]], at: float) -> float:
    best: list[tuple[float, float]] = []
    for recall, errors in sorted(set(points), key=lambda one: (-one[0], one[1])):
        if not best or errors < best[-1][1]:
            best.append((recall, errors))
    best.reverse()
    return float(np.interp(at, [one[0] for one in best], [one[1] for one in best]))


def distance(regular: Sequence[Sequence[str]], own: Sequence[Sequence[str]]) -> float:
    recall, errors = score(own)
    return errors - frontier(baselines(regular), recall)


def equal_length(
    regular: Sequence[Sequence[str]], own: Sequence[Sequence[str]]
) -> tuple[float, float]:
    cut = [
        [to_words(text, len(words(mine))) for text, mine in zip(*pair, strict=True)]
        for pair in zip(regular, own, strict=True)
    ]
    return tuple(np.subtract(score(own), score(cut)))  # type: ignore[return-value]


def make(draw: np.random.Generator, images: int, seeds: int, lies: float) -> list[list[str]]:
    """Captions of one to four sentences, each of one to four names."""

    def sentence() -> str:
        names = [
            str(draw.choice(ABSENT if draw.random() < lies else PRESENT))
            for _ in range(draw.integers(1, 5))
        ]
        return "We see " + " and ".join(f"a {name}" for name in names) + "."

    return [
        [" ".join(sentence() for _ in range(draw.integers(1, 5))) for _ in range(images)]
        for _ in range(seeds)
    ]


@pytest.mark.parametrize("seeds", [1, 2])
def test_everything_is_as_a_slow_count_has_it(seeds: int) -> None:
    draw = np.random.default_rng(seeds)
    regular, better = make(draw, 15, seeds, 0.4), make(draw, 15, seeds, 0.2)
    found = control({"regular": regular, "m": better}, resamples=99)
    points = np.array(sorted((one.recall, one.errors) for one in found.baselines))
    assert points == pytest.approx(np.array(sorted(baselines(regular))))
    mine = row(found, "m")
    assert mine.distance.value == pytest.approx(distance(regular, better))
    recall, errors = equal_length(regular, better)
    assert mine.equal_length.value == pytest.approx(errors)
    assert mine.equal_length_recall.value == pytest.approx(recall)
    assert mine.words == pytest.approx(np.mean([len(words(t)) for of in better for t in of]))

    def drawn(indices: np.ndarray) -> list[float]:
        ours, theirs = ([[of[i] for i in indices] for of in texts] for texts in (better, regular))
        return [distance(theirs, ours), equal_length(theirs, ours)[1]]

    slow = bootstrap(
        (np.arange(15),), drawn, n_resamples=99, vectorized=False, method="percentile",
        rng=np.random.default_rng(0), axis=0,
    ).confidence_interval  # fmt: skip
    for number, figure in enumerate((mine.distance, mine.equal_length)):
        assert figure.low == pytest.approx(slow.low[number])
        assert figure.high == pytest.approx(slow.high[number])


seeds_of = st.integers(0, 10_000)


@settings(max_examples=8)
@given(seeds_of, st.sampled_from([5, 10, 15, 20]))
def test_who_only_cuts_gains_nothing(seed: int, count: int) -> None:
    regular = make(np.random.default_rng(seed), 10, 1, 0.3)
    cut = [[to_words(text, count) for text in of] for of in regular]
    found = control({"regular": regular, "cut": cut})
    mine = row(found, "cut")
    assert mine.equal_length.value == mine.equal_length_recall.value == 0
    assert mine.distance.value >= 0
    assert not mine.beyond
    same = next((one for one in found.baselines if one.cut == f"{count} words"), None)
    if same is not None and same.frontier:
        assert mine.distance.value == 0


@settings(max_examples=8)
@given(seeds_of)
def test_who_leaves_out_what_is_made_up_is_below_the_frontier(seed: int) -> None:
    draw = np.random.default_rng(seed)
    # Each caption makes something up before it says anything true.
    regular = [[f"A {draw.choice(ABSENT)}. {text}" for text in make(draw, 10, 1, 0.2)[0]]]
    honest = [[re.sub(f"(and )?a ({'|'.join(ABSENT)})", "", t, flags=re.I) for t in regular[0]]]
    mine = row(control({"regular": regular, "honest": honest}), "honest")
    assert mine.distance.value < 0
    assert mine.distance.high is not None
    assert mine.distance.high < 0
    assert mine.equal_length.value < 0
    assert not mine.beyond  # it names the same true objects


def test_length_is_taken_out_and_the_rest_is_left() -> None:
    draw = np.random.default_rng(5)
    texts = make(draw, 30, 1, 0.3)
    longer = [[text + " We see a dog and a bus." for text in texts[0]]]
    cautious = [[text.replace("boat", "thing") for text in texts[0]]]
    found = control({"regular": texts, "longer": longer, "cautious": cautious, "again": texts})
    assert row(found, "again").residual.value == 0
    boats = np.mean([text.count("boat") for text in texts[0]])
    # Lengths differ by method alone, which the methods' own effects take up.
    assert found.slope.value == pytest.approx(0)
    assert row(found, "cautious").residual.value == pytest.approx(-boats)
    assert row(found, "longer").residual.value == pytest.approx(1)


def test_names_are_not_cut_in_two() -> None:
    texts = [["We can all see a baby elephant.", "We can all see a baby elephant."]]
    found = control({"regular": texts, "six": [["We can all see a baby"] * 2]})
    # "a baby" would name a person; cut to six words it would, so five are left.
    assert row(found, "six").equal_length.value == 1
    assert [one.errors for one in found.baselines] == [0, 1]


def test_unfinished_sentences_are_left_out_before_anything_is_cut() -> None:
    texts = [["A dog. A bus and a car and a"] * 3]
    found = control({"regular": texts}, drop_unfinished=True)
    assert [(one.cut, one.words, one.errors) for one in found.baselines] == [("whole", 2, 0)]
    found = control({"regular": texts})
    assert [one.cut for one in found.baselines] == ["1 sentence", "5 words", "whole"]


def test_one_image_has_no_interval_and_controls_no_correction() -> None:
    captions = {"regular": [["A dog. A bus."]], "m": [["A dog."]], "greedy": [["A dog."]]}
    found = control(captions, ("greedy",))
    assert (row(found, "m").distance.low, row(found, "m").distance_p) == (None, 1)
    assert [one.distance_p for one in found.rows] == [None, 1, None]
    assert [one.control for one in found.rows] == [False, False, True]


def test_p_values_are_corrected_over_the_methods() -> None:
    regular = [["A bus and a car. A dog and a cat and a bird."] * 20]
    honest = [["A dog and a cat and a bird."] * 20]
    one = control({"regular": regular, "m": honest}, resamples=999)
    assert row(one, "m").distance_p == pytest.approx(2 / 1000)
    two = control({"regular": regular, "m": honest, "k": regular}, resamples=999)
    assert row(two, "m").distance_p == pytest.approx(4 / 1000)


def test_nothing_is_held_against_shorter_ones_without_captions_or_regular() -> None:
    task = chair(2)
    responses = {"m": {0: [Response("A dog.")] * 2}}
    assert compare("chair", task, task.items, responses, resamples=9).lengths is None


def test_of_ambers_answers_the_descriptions_alone_are_captions() -> None:
    truth = {"type": "generative", "truth": ["dog", "cat"], "hallu": []}
    question = {"type": "discriminative-attribute-state", "truth": ["yes"], "hallu": []}
    items = [
        *(Item(str(n), str(n), None, "?", truth) for n in range(4)),
        *(Item(f"q{n}", str(n), None, "?", question | {"label": "yes"}) for n in range(6)),
    ]
    surface = {name: name for name in ("dog", "cat", "bus")}
    scorer = AmberScorer(Vocabulary({}, frozenset(), surface))
    task = Task("amber", tuple(items), scorer, _metrics(frozenset({"generative", "existence"})))
    answers = {
        method: {0: [Response(text)] * 4 + [Response("Yes, there is a bus in it.")] * 6}
        for method, text in (
            ("regular", "There is a bus. There is a dog and a cat."),
            ("m", "There is a dog and a cat."),
        )
    }
    found = compare("amber", task, items, answers, resamples=19).lengths
    assert found is not None
    assert (found.recall, found.errors) == ("cover", "chair")
    assert [(one.cut, one.words) for one in found.baselines] == [
        ("1 sentence", 4), ("5 words", 5), ("10 words", 10), ("whole", 11),
    ]  # fmt: skip
    mine = row(found, "m")
    assert (mine.words, mine.distance.value) == (7, pytest.approx(-1 / 3))
    assert (mine.equal_length.value, mine.equal_length_recall.value) == (-1, 1)
