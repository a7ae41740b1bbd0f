"""Captions: long answers, where what a step costs counts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from PIL import Image

from secondsight.decoding import SCHEDULES, Step
from secondsight.inference.model import Model
from secondsight.methods import Method, create
from secondsight.profiling import schemes
from secondsight.profiling.meter import Clock, Timing, passes, timed
from secondsight.profiling.plan import ENGINE, REGULAR, Key, Plan, paired_ratio
from secondsight.profiling.results import Floor, Measurement
from secondsight.request import Request
from secondsight.sample import Sample
from secondsight.settings import Settings

QUESTION: Final = "Please describe this image in detail."


def measure_captions(
    plan: Plan, image: Image.Image, tokens: int
) -> tuple[list[Measurement], list[Floor]]:
    """Time a caption by every method and scheme.

    Args:
        plan: What is timed, and how often.
        image: What is described.
        tokens: Tokens per caption.

    Returns:
        The measurements, and the least that each method can cost.
    """
    model, sample = plan.model, Sample(image, QUESTION).opened()
    tasks: dict[Key, Callable[[Clock], list[int]]] = {
        REGULAR: partial(schemes.regular, model, sample, tokens),
        ENGINE: partial(schemes.ours, model, create("regular"), sample, tokens, "auto"),
    }
    for method in plan.methods:
        for number in range(1, len(method.views(sample))):
            # What reading one more view costs at the very least, for the floor.
            tasks[method.spec, f"view {number}"] = partial(
                schemes.one_view, model, method, number, sample
            )
        if "naive" in plan.schemes:
            tasks[method.spec, "naive"] = partial(schemes.naive, model, method, sample, tokens)
        for schedule in SCHEDULES:
            if schedule in plan.schemes:
                tasks[method.spec, schedule] = partial(
                    schemes.ours, model, method, sample, tokens, schedule
                )
    timings: dict[Key, list[Timing]] = {key: [] for key in tasks}
    for repeat, key in plan.stages("caption", tasks):
        model.prefixes.clear()  # every caption is the first one of its image
        timing = timed(model.hf_model, tasks[key])
        if repeat >= 0:
            timings[key].append(timing)
    forwards: dict[Key, int] = {}
    for key, task in tasks.items():
        model.prefixes.clear()
        forwards[key] = passes(model.hf_model, partial(task, Clock()))
    singles = {method.spec: _single(model, method, sample, tokens) for method in plan.methods}
    rows = [
        _caption_row(key, found, timings, forwards[key], singles.get(key[0]))
        for key, found in timings.items()
        if not key[1].startswith("view")
    ]
    base = statistics.median(timing.seconds for timing in timings[REGULAR])
    floors = [
        Floor(
            method.spec,
            base,
            tuple(
                statistics.median(timing.seconds for timing in view)
                for view in _view_timings(timings, method.spec)
            ),
        )
        for method in plan.methods
    ]
    return rows, floors


def _view_timings(timings: Mapping[Key, list[Timing]], method: str) -> list[list[Timing]]:
    return [
        found
        for (name, scheme), found in timings.items()
        if name == method and scheme.startswith("view")
    ]


def _caption_row(
    key: Key,
    found: list[Timing],
    timings: Mapping[Key, list[Timing]],
    forwards: int,
    single: float | None,
) -> Measurement:
    method, scheme = key
    regular = timings[REGULAR]
    extra = _view_timings(timings, method)
    floors = [
        base.seconds + sum(view[repeat].seconds for view in extra)
        for repeat, base in enumerate(regular)
    ]
    seconds = [timing.seconds for timing in found]
    middle = sorted(found, key=lambda timing: timing.seconds)[len(found) // 2]
    return Measurement(
        workload="caption",
        method=method,
        scheme=scheme,
        seconds=statistics.median(seconds),
        spread=(min(seconds), max(seconds)),
        ratio=paired_ratio(seconds, [base.seconds for base in regular]),
        per_token=statistics.median(timing.per_token for timing in found),
        token_ratio=paired_ratio(
            [timing.per_token for timing in found], [base.per_token for base in regular]
        ),
        floor_ratio=paired_ratio(seconds, floors),
        first_token=statistics.median(timing.first_token for timing in found),
        per_second=len(middle.times) / statistics.median(seconds),
        forwards=forwards,
        peak_bytes=max(timing.peak_bytes for timing in found),
        single=single,
        times=tuple(middle.times),
    )


def _single(model: Model, method: Method, sample: Sample, tokens: int) -> float | None:
    """Share of the steps in which a single token is plausible, from an untimed run."""
    counts: list[int] = []

    def watch(step: Step) -> None:
        if step.plausible is not None:
            counts.append(int(step.plausible.sum()))

    request = Request(sample, method, Settings(max_new_tokens=tokens))
    model.submit(request, observer=watch).result()
    return sum(count == 1 for count in counts) / len(counts) if counts else None
