"""Methods against regular decoding and against their controls, with what the figures support.

Contrasting views sharpens a distribution and cuts off its tail; a model that is merely sharpened
and cut (the controls) errs less too. So a method is only called better when it beats the best of
its controls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from secondsight.benchmarks.by_image import ByImage
from secondsight.benchmarks.counts import Array, Counts
from secondsight.benchmarks.length_control import LengthControl, control_lengths, cut_to
from secondsight.benchmarks.statistics import (
    CONFIDENCE,
    RESAMPLES,
    Resampled,
    bootstrap_p,
    holm,
    images_needed,
    mcnemar_error,
    mcnemar_p,
    resample_images,
    settled,
)
from secondsight.benchmarks.task import Item, Metric, Response, Task
from secondsight.benchmarks.yesno import NO, YES

REGULAR = "regular"
CUT_TO: Final = f"{REGULAR} cut to "
"""How the control of a method's length is named, before the method's name."""
MANY: Final = 1_000_000
"""Images beyond which their number is no advice."""


@dataclass(frozen=True)
class Estimate:
    """A metric: mean over the seeds, its interval over images, and each seed's value."""

    mean: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Paired:
    """A method against another on the same questions, in the primary metric.

    Attributes:
        against: The other method.
        difference: Method minus other.
        low: Lower end of the 95% interval, by paired bootstrap over images.
        high: Upper end.
        test: ``mcnemar`` for yes/no answers, else ``paired bootstrap``.
        p: Its p-value.
        p_holm: The p-value after Holm's correction over the table.
        gained: Questions that only the method has right, averaged over seeds (McNemar).
        lost: Questions that only the other has right.
        images_needed: Images needed to tell such a difference from none.
    """

    against: str
    difference: float
    low: float | None
    high: float | None
    test: str
    p: float
    p_holm: float
    gained: float | None
    lost: float | None
    images_needed: int | None


@dataclass(frozen=True)
class Transitions:
    """Answers that changed against regular decoding, summed over seeds.

    Attributes:
        yes_to_no: Answers that were yes and are no.
        yes_to_no_right: Those of them that are right now.
        no_to_yes: Answers that were no and are yes.
        no_to_yes_right: Those of them that are right now.
    """

    yes_to_no: int
    yes_to_no_right: int
    no_to_yes: int
    no_to_yes_right: int


@dataclass(frozen=True)
class Row:
    """One method in the table."""

    method: str
    control: bool
    metrics: Mapping[str, Estimate]
    versus_regular: Paired | None
    versus_best_control: Paired | None
    transitions: Transitions | None
    verdict: str | None


@dataclass(frozen=True)
class Comparison:
    """The table of one run.

    Attributes:
        benchmark: The benchmark's name.
        dataset: The name of the data.
        metrics: What the figures of the rows are; comparisons are about the first.
        scoring: What the scores depend on beside questions and answers.
        items: Questions.
        images: Images.
        seeds: The seeds.
        resamples: Resamples of the bootstrap.
        rows: The methods, regular first, then the others, then the controls.
        lengths: Captions held against shorter ones.
        warnings: What a reader should know.
    """

    benchmark: str
    dataset: str
    metrics: tuple[Metric, ...]
    scoring: Mapping[str, Any]
    items: int
    images: int
    seeds: tuple[int, ...]
    resamples: int
    rows: tuple[Row, ...]
    lengths: LengthControl | None = None
    warnings: tuple[str, ...] = ()

    @property
    def primary(self) -> Metric:
        """The metric of the comparisons."""
        return self.metrics[0]

    def metric(self, name: str) -> Metric:
        """A metric by name."""
        return next(metric for metric in self.metrics if metric.name == name)

    @property
    def shown(self) -> tuple[Metric, ...]:
        """The metrics that are columns of the reports."""
        return tuple(metric for metric in self.metrics if metric.shown)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, as ``scores.schema.json`` describes it."""
        values = asdict(self)
        del values["metrics"]
        return {
            "schema_version": 2,
            "confidence": CONFIDENCE,
            "benchmark": values.pop("benchmark"),
            "dataset": values.pop("dataset"),
            "primary": self.primary.name,
            "higher_is_better": self.primary.better != "less",
            "headline": [metric.name for metric in self.shown],
            "metrics": {metric.name: _described(metric) for metric in self.metrics},
            **values,
        }


def _described(metric: Metric) -> dict[str, Any]:
    return {"title": metric.label, "unit": metric.unit, "better": metric.better}


def compare(
    benchmark: str,
    task: Task,
    items: Sequence[Item],
    answers: Mapping[str, Mapping[int, Sequence[Response]]],
    controls: Sequence[str] = (),
    *,
    equal_length: Sequence[str] = (),
    applies: Callable[[str, str], bool] = lambda method, control: True,
    resamples: int = RESAMPLES,
    warnings: Sequence[str] = (),
) -> Comparison:
    """Scores all methods and compares them.

    Args:
        benchmark: The benchmark's name.
        task: What was asked, and how answers are judged.
        items: Those of its items that were answered.
        answers: For each method and seed the answers, in the items' order; all methods have the
            same seeds.
        controls: Those methods that are controls.
        equal_length: Methods that get one more control each: regular decoding's captions, cut to
            the number of words of the method's.
        applies: Whether a control is one of a method's.
        resamples: Resamples of the bootstrap.
        warnings: Notes to hand on.

    Raises:
        UserError: A method of `equal_length` is not there, or writes no captions.
    """
    counts = _counts(task, items, answers)
    lengths = control_lengths(
        task, items, answers, counts, controls, reference=REGULAR, resamples=resamples
    )
    seeds = tuple(next(iter(answers.values())))
    own = {method: f"{CUT_TO}{method}" for method in equal_length}
    counts |= _counts(
        task,
        items,
        {
            name: cut_to(task, items, answers, counts, method, reference=REGULAR)
            for method, name in own.items()
        },
    )
    controls = (*controls, *own.values())
    table = _Table(task, items, counts, seeds)
    pairs = _pairs(table, controls, own, applies)
    resampled = resample_images(
        lambda weights: table.quantities(weights, pairs), table.images, resamples=resamples
    )
    paired = _paired(table, pairs, resampled)
    rows = [
        _row(table, method, method in controls, resampled, paired, bool(controls))
        for method in table.methods
    ]
    notes = dict.fromkeys(
        f"{method}: {warning}"
        for method, by_seed in counts.items()
        for count in by_seed.values()
        for warning in count.warnings
    )
    return Comparison(
        benchmark=benchmark,
        dataset=task.dataset,
        metrics=table.metrics,
        scoring=task.scoring,
        items=len(items),
        images=table.images,
        seeds=seeds,
        resamples=resamples,
        rows=tuple(rows),
        lengths=lengths,
        warnings=(*warnings, *notes),
    )


def _counts(
    task: Task, items: Sequence[Item], answers: Mapping[str, Mapping[int, Sequence[Response]]]
) -> dict[str, dict[int, Counts]]:
    return {
        method: {seed: task.scorer.count(items, responses) for seed, responses in by_seed.items()}
        for method, by_seed in answers.items()
    }


class _Table:
    """Counts of all methods by image, and the metrics under any weighting of the images."""

    def __init__(
        self,
        task: Task,
        items: Sequence[Item],
        counts: Mapping[str, Mapping[int, Counts]],
        seeds: tuple[int, ...],
    ) -> None:
        self.task, self.items, self.counts, self.seeds = task, items, counts, seeds
        self.methods = tuple(counts)
        self._by_image = ByImage(task.scorer, items, counts, seeds)
        self.images = self._by_image.images
        once = np.ones((1, self.images))
        self.point = {method: self._by_image.values(method, once) for method in self.methods}
        self.metrics = task.compared(list(next(iter(self.point.values()))))
        self._primary = self.metrics[0].name

    def quantities(self, weights: Array, pairs: Sequence[tuple[str, str]]) -> Array:
        """Metrics of all methods, then differences of all pairs: (quantities, weightings)."""
        values = {method: self._by_image.values(method, weights) for method in self.methods}
        means = [
            values[method][metric.name].mean(axis=1)
            for method in self.methods
            for metric in self.metrics
        ]
        primary = {method: found[self._primary].mean(axis=1) for method, found in values.items()}
        differences = [settled(primary[one] - primary[other]) for one, other in pairs]
        return np.stack([*means, *differences])

    def primary(self, method: str) -> float:
        """The primary metric's mean over the seeds."""
        return float(self.point[method][self._primary].mean())

    def difference(self, method: str, other: str) -> float:
        """Method minus other in the primary metric, 0 where only rounding tells them apart."""
        return float(settled(np.asarray(self.primary(method) - self.primary(other))))

    def better(self, difference: float) -> float:
        """A difference with its sign turned so that more is better."""
        return -difference if self.metrics[0].better == "less" else difference


def _pairs(
    table: _Table,
    controls: Sequence[str],
    own: Mapping[str, str],
    applies: Callable[[str, str], bool],
) -> list[tuple[str, str]]:
    """Each method against regular and against the best of its controls."""
    found = []
    for method in (m for m in table.methods if m != REGULAR and m not in controls):
        if REGULAR in table.methods:
            found.append((method, REGULAR))
        made = set(own.values())
        present = [
            one
            for one in controls
            if one in table.methods
            and (one == own.get(method) if one in made else applies(method, one))
        ]
        if present:
            best = max(present, key=lambda one: table.better(table.primary(one)))
            found.append((method, best))
    return found


def _paired(
    table: _Table, pairs: Sequence[tuple[str, str]], resampled: Resampled | None
) -> dict[tuple[str, str], Paired]:
    offset = len(table.methods) * len(table.metrics)
    found = []
    for number, (method, other) in enumerate(pairs):
        difference = table.difference(method, other)
        position = offset + number
        changes = _changes(table, method, other)
        error = 0.0 if resampled is None else float(resampled.error[position])
        if changes is not None:
            p = mcnemar_p(*changes)
            # The size needed is that of the stricter of test and interval.
            error = max(error, mcnemar_error(*changes, len(table.items)))
        else:
            p = 1.0 if resampled is None else bootstrap_p(resampled.draws[position])
        found.append(
            Paired(
                against=other,
                difference=difference,
                low=None if resampled is None else float(resampled.low[position]),
                high=None if resampled is None else float(resampled.high[position]),
                test="paired bootstrap" if changes is None else "mcnemar",
                p=p,
                p_holm=p,
                gained=None if changes is None else changes[0],
                lost=None if changes is None else changes[1],
                images_needed=images_needed(difference, error, table.images, len(pairs)),
            )
        )
    corrected = holm([pair.p for pair in found])
    return {
        key: replace(pair, p_holm=p) for key, pair, p in zip(pairs, found, corrected, strict=True)
    }


def _changes(table: _Table, method: str, other: str) -> tuple[float, float] | None:
    """Questions gained and lost, averaged over seeds; None where answers are not yes or no."""
    one, two = table.counts[method], table.counts[other]
    if any(counts.predictions is None for counts in (*one.values(), *two.values())):
        return None
    gained = lost = 0.0
    for seed in table.seeds:
        right, before = one[seed].columns["correct"], two[seed].columns["correct"]
        gained += float(np.sum(right > before))
        lost += float(np.sum(right < before))
    return gained / len(table.seeds), lost / len(table.seeds)


def _transitions(table: _Table, method: str) -> Transitions | None:
    if method == REGULAR or REGULAR not in table.methods:
        return None
    tally = dict.fromkeys(((YES, NO, 0), (YES, NO, 1), (NO, YES, 0), (NO, YES, 1)), 0)
    for seed in table.seeds:
        before, now = table.counts[REGULAR][seed], table.counts[method][seed]
        if before.predictions is None or now.predictions is None:
            return None
        for was, became, right in zip(
            before.predictions, now.predictions, now.columns["correct"], strict=True
        ):
            if (was, became, int(right)) in tally:
                tally[was, became, int(right)] += 1
    return Transitions(
        yes_to_no=tally[YES, NO, 0] + tally[YES, NO, 1],
        yes_to_no_right=tally[YES, NO, 1],
        no_to_yes=tally[NO, YES, 0] + tally[NO, YES, 1],
        no_to_yes_right=tally[NO, YES, 1],
    )


def _row(
    table: _Table,
    method: str,
    control: bool,
    resampled: Resampled | None,
    paired: Mapping[tuple[str, str], Paired],
    with_controls: bool,
) -> Row:
    first = table.methods.index(method) * len(table.metrics)
    metrics = {
        metric.name: Estimate(
            mean=float(table.point[method][metric.name].mean()),
            low=None if resampled is None else float(resampled.low[first + number]),
            high=None if resampled is None else float(resampled.high[first + number]),
            seeds=tuple(float(value) for value in table.point[method][metric.name][0]),
        )
        for number, metric in enumerate(table.metrics)
    }
    mine = [pair for (one, _), pair in paired.items() if one == method]
    regular = next((pair for pair in mine if pair.against == REGULAR), None)
    best = next((pair for pair in mine if pair.against != REGULAR), None)
    return Row(
        method=method,
        control=control,
        metrics=metrics,
        versus_regular=regular,
        versus_best_control=best,
        transitions=_transitions(table, method),
        verdict=_verdict(table, regular, best, with_controls)
        if method != REGULAR and not control
        else None,
    )


def _verdict(
    table: _Table, regular: Paired | None, best: Paired | None, with_controls: bool
) -> str:
    """What the figures support, in words."""
    if best is None or not with_controls:
        return "controls were not run"
    alpha = 1 - CONFIDENCE
    gain = table.better(best.difference)
    # McNemar's test takes questions about one image for independent; the interval does not.
    apart = best.low is None or best.high is None or not best.low <= 0 <= best.high
    if gain > 0 and best.p_holm < alpha and apart:
        return "better than its controls"
    beats_regular = (
        regular is not None and regular.p_holm < alpha and table.better(regular.difference) > 0
    )
    if gain <= 0 and (beats_regular or best.p_holm < alpha):
        return "no better than sharpening"
    if best.images_needed is None:
        return "not distinguishable at this size (n needed: unknown, no difference seen)"
    # The normal approximation may fall short of the exact test by a little.
    needed = max(best.images_needed, table.images + 1)
    number = f"over {MANY:,}" if needed > MANY else str(needed)
    return f"not distinguishable at this size (n needed: {number} images)"
