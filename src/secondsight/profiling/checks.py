"""Checked captions: what asking about a caption's statements costs beside writing it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from PIL import Image

from secondsight.checking.questions import existence
from secondsight.inference.asking import Asker
from secondsight.inference.model import Model
from secondsight.methods import create
from secondsight.profiling import schemes
from secondsight.profiling.captions import QUESTION
from secondsight.profiling.meter import Clock
from secondsight.profiling.plan import ENGINE, REGULAR, Key, Plan
from secondsight.profiling.results import Measurement
from secondsight.profiling.turns import take_turns
from secondsight.request import Request
from secondsight.sample import Sample

CHECKS: Final = ("check:repair=none", "check:repair=drop", "check")
ASKING: Final[Key] = ("asking", "engine")
"""The questions alone, on an image that a caption has just been written about."""


def measure_checks(
    plan: Plan, image: Image.Image, objects: Sequence[str], tokens: int
) -> list[Measurement]:
    """Time a caption that ends where it ends, by itself and with what `check` adds.

    Args:
        plan: What is timed, and how often; its methods and schemes play no part.
        image: What is described.
        objects: What the questions are about that are timed alone.
        tokens: Tokens per caption at most.
    """
    model, sample = plan.model, Sample(image, QUESTION).opened()
    tasks: dict[Key, Callable[[], object]] = {
        REGULAR: lambda: schemes.regular(model, sample, tokens, Clock()),
        ENGINE: lambda: schemes.ours(model, create("regular"), sample, tokens, "auto", Clock()),
    }
    for spec in CHECKS:
        own = partial(schemes.ours, model, create(spec), sample, tokens, "auto")
        tasks[spec, "auto"] = lambda own=own: own(Clock())  # type: ignore[misc]
    questions = [existence(name) for name in objects]
    tasks[ASKING] = partial(_ask, model, sample, questions)

    def begin(key: Key) -> None:
        model.prefixes.clear()  # every caption is the first one of its image
        if key == ASKING:
            schemes.ours(model, create("regular"), sample, 1, "auto", Clock())

    found = take_turns(plan, "check", tasks, begin)
    asking = found[ASKING]
    found[ASKING] = replace(asking, per_token=asking.seconds / len(questions))
    return list(found.values())


def _ask(model: Model, sample: Sample, questions: Sequence[str]) -> dict[str, list[float]]:
    """Put questions as `check` does, in one batch on the prefix that is there."""
    prepared = model.prepare(Request(sample, "check:repair=none"))
    heard, failures = threading.Event(), []

    def failed(error: Exception) -> None:
        failures.append(error)
        heard.set()

    asker = Asker(
        model.backbone,
        model.runner,
        prepared.seen[:1],
        prepared.prepared.constants,
        told=heard.set,
        failed=failed,
    )
    asker.ask(questions)
    model.run_while(lambda: not heard.is_set())
    if failures:
        raise failures[0]
    return asker.heard
