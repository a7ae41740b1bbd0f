"""Captions: long answers, where what a step costs counts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
from PIL import Image

from secondsight.decoding import SCHEDULES, Step, decode
from secondsight.decoding.sampling import generator
from secondsight.inference.model import Model
from secondsight.methods import Method, create
from secondsight.profiling import schemes
from secondsight.profiling.meter import Clock, Timing, timed
from secondsight.profiling.plan import REGULAR, Key, Plan, paired_ratio
from secondsight.profiling.results import Floor, Measurement
from secondsight.sample import Sample

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
    model = plan.model
    views = {method.spec: _views(model, method, image) for method in plan.methods}
    original = next(iter(views.values()))[0]
    prompt = original["input_ids"].shape[1]
    regular = create("regular")
    tasks: dict[Key, Callable[[Clock], torch.Tensor]] = {
        REGULAR: partial(schemes.regular, model, [original], tokens),
        ("regular", "loop"): partial(_ours, model, [original], tokens, regular, "auto"),
    }
    for method in plan.methods:
        seen = views[method.spec]
        for number, view in enumerate(seen[1:], start=1):
            # What reading one more view costs at the very least, for the floor.
            tasks[method.spec, f"view {number}"] = partial(schemes.regular, model, [view], 1)
        if "naive" in plan.schemes:
            tasks[method.spec, "naive"] = partial(_naive, model, seen, tokens, method)
        for schedule in SCHEDULES:
            if schedule in plan.schemes:
                tasks[method.spec, schedule] = partial(_ours, model, seen, tokens, method, schedule)
    readings: dict[Key, list[Timing]] = {key: [] for key in tasks}
    for repeat, key in plan.stages("caption", tasks):
        reading = timed(model.hf_model, tasks[key], prompt)
        if repeat >= 0:
            readings[key].append(reading)
    singles = {name: _single(model, name, seen, tokens) for name, seen in views.items()}
    rows = [
        _caption_row(key, found, readings, singles.get(key[0]))
        for key, found in readings.items()
        if not key[1].startswith("view")
    ]
    base = statistics.median(reading.seconds for reading in readings[REGULAR])
    floors = [
        Floor(
            method.spec,
            base,
            tuple(
                statistics.median(reading.seconds for reading in view)
                for view in _view_readings(readings, method.spec)
            ),
        )
        for method in plan.methods
    ]
    return rows, floors


def _view_readings(readings: Mapping[Key, list[Timing]], method: str) -> list[list[Timing]]:
    return [
        found
        for (name, part), found in readings.items()
        if name == method and part.startswith("view")
    ]


def _naive(
    model: Model, views: Sequence[dict[str, Any]], tokens: int, method: Method, clock: Clock
) -> torch.Tensor:
    return schemes.naive(model, views, tokens, clock, method)


def _ours(
    model: Model,
    views: Sequence[dict[str, Any]],
    tokens: int,
    method: Method,
    schedule: str,
    clock: Clock,
) -> torch.Tensor:
    return schemes.ours(model, views, tokens, clock, method, schedule)


def _views(model: Model, method: Method, image: Image.Image) -> list[dict[str, Any]]:
    sample = Sample(image, QUESTION).opened()
    draws = generator(0)
    seen = [view.apply(sample, draws) for view in method.views(sample)]
    return [model.encode_sample(one) for one in seen]


def _caption_row(
    key: Key,
    found: list[Timing],
    readings: Mapping[Key, list[Timing]],
    single: float | None,
) -> Measurement:
    method, scheme = key
    regular = readings[REGULAR]
    extra = _view_readings(readings, method)
    floors = [
        base.seconds + sum(view[repeat].seconds for view in extra)
        for repeat, base in enumerate(regular)
    ]
    seconds = [reading.seconds for reading in found]
    middle = sorted(found, key=lambda reading: reading.seconds)[len(found) // 2]
    return Measurement(
        workload="caption",
        method=method,
        scheme=scheme,
        seconds=statistics.median(seconds),
        spread=(min(seconds), max(seconds)),
        ratio=paired_ratio(seconds, [base.seconds for base in regular]),
        per_token=statistics.median(reading.per_token for reading in found),
        token_ratio=paired_ratio(
            [reading.per_token for reading in found], [base.per_token for base in regular]
        ),
        floor_ratio=paired_ratio(seconds, floors),
        first_token=statistics.median(reading.first_token for reading in found),
        per_second=len(middle.times) / statistics.median(seconds),
        forwards=middle.forwards,
        peak_bytes=max(reading.peak_bytes for reading in found),
        single=single,
        times=tuple(middle.times),
    )


def _single(
    model: Model, method: str, views: Sequence[dict[str, Any]], tokens: int
) -> float | None:
    """Share of the steps in which a single token is plausible, from an untimed run."""
    counts: list[int] = []

    def watch(step: Step) -> None:
        if step.plausible is not None:
            counts.extend(step.plausible.sum(dim=-1).tolist())

    original, *others = views
    model.hf_model.generate(
        **original,
        custom_generate=decode,
        method=method,
        views=others,
        observer=watch,
        max_new_tokens=tokens,
        do_sample=False,
    )
    return sum(count == 1 for count in counts) / len(counts) if counts else None
