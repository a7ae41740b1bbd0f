"""Captions held against shorter ones: is a method better, or does it only say less?

Three answers, each with a bootstrap over images. What is left of a difference once length is
accounted for; how far a method lies from what regular decoding reaches when its captions are cut
short (the trivial baselines), at the same recall; and the same captions cut, image by image, to
the method's own length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from secondsight.benchmarks.by_image import ByImage, images_of
from secondsight.benchmarks.counts import Array, Counts, ratio
from secondsight.benchmarks.lengths import adjusted_differences, frontier_errors, on_frontier
from secondsight.benchmarks.statistics import bootstrap_p, holm, resample_images, settled
from secondsight.benchmarks.task import CaptionCounts, Item, Response, Scorer, Task
from secondsight.errors import UserError, nearest
from secondsight.objects.mentions import first_sentences, sentence_count, word_count

Run: TypeAlias = tuple[str, str]
"""Captions of every item and seed: a method's ``own``, or the reference's, ``cut`` in one way or to
a method's ``length``; with the method or the way."""

OWN, CUT, LENGTH, WHOLE = "own", "cut", "length", "whole"

_WORDS: Final = (5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200)
_SENTENCES: Final = range(1, 9)
"""What captions are cut to, as far as it shortens any."""


@dataclass(frozen=True)
class Figure:
    """A figure with its 95% interval over images, which a single image does not have."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Baseline:
    """The reference's captions, all cut in one way.

    Attributes:
        cut: How: ``20 words``, ``2 sentences``, or ``whole``.
        words: Words per caption.
        recall: The metric of what is named.
        errors: The metric of what is made up.
        frontier: Whether no other baseline beats it.
    """

    cut: str
    words: float
    recall: float
    errors: float
    frontier: bool


@dataclass(frozen=True)
class LengthRow:
    """One method, held against shorter captions.

    Attributes:
        method: The method.
        control: Whether it is a control.
        words: Words per caption.
        residual: Made-up mentions per caption, minus the reference's, beyond what length explains.
        residual_share: The same of the share of a caption's mentions that are made up.
        distance: The metric of what is made up, minus the baselines' at the same recall.
        distance_p: Two-sided p-value of the distance, after Holm's correction over the methods
            that are compared; None for others.
        beyond: Whether no baseline recalls as much; the distance is to the one that recalls most.
        equal_length: The metric of what is made up, minus that of the reference's captions cut,
            image by image, to the method's number of words.
        equal_length_recall: The same for the metric of what is named.
    """

    method: str
    control: bool
    words: float
    residual: Figure
    residual_share: Figure
    distance: Figure
    distance_p: float | None
    beyond: bool
    equal_length: Figure
    equal_length_recall: Figure


@dataclass(frozen=True)
class LengthControl:
    """All methods held against shorter captions.

    Attributes:
        reference: Whose captions are cut.
        recall: Name of the metric of what is named.
        errors: Name of the metric of what is made up.
        slope: Made-up mentions that come with a further word.
        slope_share: What a further word adds to the share of a caption's mentions that are made up.
        baselines: The reference's captions cut short, shortest first, and whole.
        rows: The methods.
    """

    reference: str
    recall: str
    errors: str
    slope: Figure
    slope_share: Figure
    baselines: tuple[Baseline, ...]
    rows: tuple[LengthRow, ...]


def control_lengths(
    task: Task,
    items: Sequence[Item],
    answers: Mapping[str, Mapping[int, Sequence[Response]]],
    counts: Mapping[str, Mapping[int, Counts]],
    controls: Sequence[str],
    *,
    reference: str,
    resamples: int,
) -> LengthControl | None:
    """Holds all methods' captions against shorter ones.

    Args:
        task: What was asked, and how answers are judged.
        items: Those of its items that were answered.
        answers: For each method and seed the answers, in the items' order.
        counts: What the task's scorer made of them.
        controls: Those methods that are controls.
        reference: The method whose captions are cut.
        resamples: Resamples of the bootstrap.

    Returns:
        The control; None where nothing is a caption, or the reference did not answer.
    """
    names, scorer = task.scorer.caption_counts, task.scorer
    recall, errors = task.traded("across"), task.traded("upward")
    if names is None or recall is None or errors is None or reference not in answers:
        return None
    chosen = caption_places(scorer, next(iter(counts[reference].values())))
    if not chosen:
        return None
    items = [items[n] for n in chosen]
    counts = {m: {seed: _rows(c, chosen) for seed, c in of.items()} for m, of in counts.items()}
    texts = {
        seed: [scorer.judged_text(responses[n]) for n in chosen]
        for seed, responses in answers[reference].items()
    }
    to_cuts = _cuts(scorer, [text for of in texts.values() for text in of])
    runs = {
        (CUT, name): {seed: [cut(text) for text in of] for seed, of in texts.items()}
        for name, cut in to_cuts.items()
    } | {
        (LENGTH, method): {
            seed: [
                scorer.cut(text, int(words))
                for text, words in zip(of, counts[method][seed].columns[names.words], strict=True)
            ]
            for seed, of in texts.items()
        }
        for method in counts
    }
    judged = _judged(scorer, items, runs)
    judged |= {(OWN, method): by_seed for method, by_seed in counts.items()}
    captions = _Captions(
        ByImage(scorer, items, judged, tuple(texts)),
        images_of(items)[0],
        tuple(counts),
        tuple(to_cuts),
        reference,
        (recall.name, errors.name),
        {
            run: float(np.mean([one.columns[names.words].mean() for one in by_seed.values()]))
            for run, by_seed in judged.items()
        },
        *_panel(counts, names),
    )
    return captions.control(controls, resamples)


def caption_places(scorer: Scorer, counts: Counts) -> list[int]:
    """Which answers are captions, by their counts."""
    names = scorer.caption_counts
    return [] if names is None else [int(n) for n in np.flatnonzero(counts.columns[names.captions])]


def cut_to(
    task: Task,
    items: Sequence[Item],
    answers: Mapping[str, Mapping[int, Sequence[Response]]],
    counts: Mapping[str, Mapping[int, Counts]],
    method: str,
    *,
    reference: str,
) -> dict[int, list[Response]]:
    """The reference's captions, each cut to the number of words of a method's.

    Args:
        task: What was asked, and how answers are judged.
        items: Those of its items that were answered.
        answers: For each method and seed the answers, in the items' order.
        counts: What the task's scorer made of them.
        method: The method.
        reference: Whose captions are cut; what is no caption stays as it is.

    Raises:
        UserError: The method or the reference is not there, or writes no captions.
    """
    scorer, names = task.scorer, task.scorer.caption_counts
    for one in (method, reference):
        if one not in answers:
            raise UserError(
                f"{one} is not among the methods, so nothing is cut to equal length."
                f"{nearest(one, answers)}"
            )
    captions = set(caption_places(scorer, next(iter(counts[method].values()))))
    if names is None or not captions:
        raise UserError(f"{task.dataset} asks for no captions that could be cut to equal length.")
    words = {seed: found.columns[names.words] for seed, found in counts[method].items()}
    return {
        # Finished, so that what the cut has left of a sentence counts.
        seed: [
            Response(scorer.cut(scorer.judged_text(response), int(words[seed][number])), "stop")
            if number in captions
            else response
            for number, response in enumerate(responses)
        ]
        for seed, responses in answers[reference].items()
    }


def _cuts(scorer: Scorer, texts: Sequence[str]) -> Mapping[str, Callable[[str], str]]:
    """The ways to cut that shorten any of the texts, by name."""
    longest, most = max(map(word_count, texts)), max(map(sentence_count, texts))
    words = {f"{n} words": partial(scorer.cut, words=n) for n in _WORDS if n < longest}
    return words | {
        f"{n} sentence{'s' * (n > 1)}": partial(first_sentences, count=n)
        for n in _SENTENCES
        if n < most
    }


def _rows(counts: Counts, chosen: Sequence[int]) -> Counts:
    return Counts({name: values[chosen] for name, values in counts.columns.items()})


def _judged(
    scorer: Scorer, items: Sequence[Item], runs: Mapping[Run, Mapping[int, Sequence[str]]]
) -> dict[Run, Mapping[int, Counts]]:
    """Counts of texts, each of which is judged once, however many runs have it."""
    place: dict[tuple[int, str], int] = {}
    rows = {
        run: {
            seed: [place.setdefault((n, text), len(place)) for n, text in enumerate(of)]
            for seed, of in by_seed.items()
        }
        for run, by_seed in runs.items()
    }
    # Finished, so that what a cut has left of a sentence counts.
    counts = scorer.count(
        [items[n] for n, _ in place], [Response(text, "stop") for _, text in place]
    )
    return {
        run: {seed: _rows(counts, of) for seed, of in by_seed.items()}
        for run, by_seed in rows.items()
    }


def _panel(
    counts: Mapping[str, Mapping[int, Counts]], names: CaptionCounts
) -> tuple[Array, Array, Array]:
    """Words, made-up mentions and their share of all mentions: (captions, methods, seeds)."""
    words, made_up, mentions = (
        np.stack(
            [
                np.stack([one.columns[name] for one in by_seed.values()], axis=-1)
                for by_seed in counts.values()
            ],
            axis=1,
        )
        for name in (names.words, names.made_up, names.mentions)
    )
    return words, made_up, ratio(made_up, mentions)


@dataclass(frozen=True)
class _Captions:
    """All captions, the methods' own and the reference's cut short, as counts and arrays."""

    runs: ByImage[Run]
    image_of: npt.NDArray[np.int64]
    methods: tuple[str, ...]
    cuts: tuple[str, ...]
    reference: str
    metrics: tuple[str, str]
    mean_words: Mapping[Run, float]
    words: Array
    made_up: Array
    share: Array

    @property
    def baselines(self) -> list[Run]:
        """The runs that the frontier is of."""
        return [*((CUT, name) for name in self.cuts), (OWN, self.reference)]

    def means(self, runs: Sequence[Run], weights: Array) -> tuple[Array, Array]:
        """Recall and errors, averaged over the seeds: (weightings, runs) each."""
        values = [self.runs.values(run, weights) for run in runs]
        recall, errors = (
            np.stack([found[name].mean(axis=1) for found in values], axis=1)
            for name in self.metrics
        )
        return recall, errors

    def quantities(self, weights: Array) -> dict[tuple[str, str], Array]:
        """All that gets an interval, by kind and method, each shaped (weightings)."""
        recall, errors = self.means([(OWN, method) for method in self.methods], weights)
        cut_recall, cut_errors = self.means([(LENGTH, m) for m in self.methods], weights)
        distance = errors - frontier_errors(recall, *self.means(self.baselines, weights))
        reference, each = self.methods.index(self.reference), weights[:, self.image_of]
        slope, residual = adjusted_differences(self.words, self.made_up, each, reference)
        slope_share, share = adjusted_differences(self.words, self.share, each, reference)
        by_method = {
            "residual": residual,
            "residual_share": share,
            "distance": distance,
            "equal_length": errors - cut_errors,
            "equal_length_recall": recall - cut_recall,
        }
        return {("slope", ""): slope, ("slope_share", ""): slope_share} | {
            (kind, method): settled(values[:, number])
            for kind, values in by_method.items()
            for number, method in enumerate(self.methods)
        }

    def control(self, controls: Sequence[str], resamples: int) -> LengthControl:
        """The figures, with their intervals."""
        once = np.ones((1, self.runs.images))
        point = {key: float(value[0]) for key, value in self.quantities(once).items()}
        resampled = resample_images(
            lambda weights: np.stack(list(self.quantities(weights).values())),
            self.runs.images,
            resamples=resamples,
        )
        place = {key: number for number, key in enumerate(point)}

        def figure(kind: str, method: str = "") -> Figure:
            number = place[kind, method]
            return Figure(
                point[kind, method],
                None if resampled is None else float(resampled.low[number]),
                None if resampled is None else float(resampled.high[number]),
            )

        compared = [m for m in self.methods if m != self.reference and m not in controls]
        p = [
            1.0 if resampled is None else bootstrap_p(resampled.draws[place["distance", method]])
            for method in compared
        ]
        corrected = dict(zip(compared, holm(p), strict=True))
        baselines = self._baselines(once)
        farthest = max(one.recall for one in baselines)
        [recall], _ = self.means([(OWN, method) for method in self.methods], once)
        rows = [
            LengthRow(
                method=method,
                control=method in controls,
                words=self.mean_words[OWN, method],
                residual=figure("residual", method),
                residual_share=figure("residual_share", method),
                distance=figure("distance", method),
                distance_p=corrected.get(method),
                beyond=float(recall[number]) > farthest,
                equal_length=figure("equal_length", method),
                equal_length_recall=figure("equal_length_recall", method),
            )
            for number, method in enumerate(self.methods)
        ]
        return LengthControl(
            self.reference,
            *self.metrics,
            figure("slope"),
            figure("slope_share"),
            baselines,
            tuple(rows),
        )

    def _baselines(self, once: Array) -> tuple[Baseline, ...]:
        """The baselines, shortest first."""
        [recall], [errors] = self.means(self.baselines, once)
        found = [
            Baseline(
                WHOLE if run[0] == OWN else run[1],
                self.mean_words[run],
                float(recall[number]),
                float(errors[number]),
                bool(there),
            )
            for number, (run, there) in enumerate(
                zip(self.baselines, on_frontier(recall, errors), strict=True)
            )
        ]
        return tuple(sorted(found, key=lambda one: one.words))
