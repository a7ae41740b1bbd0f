"""Yes/no questions: many short answers on one image, where prompts and batches count."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

from secondsight.inference.model import Model
from secondsight.methods import Method, create
from secondsight.profiling import schemes
from secondsight.profiling.meter import Clock, passes, peak_memory
from secondsight.profiling.plan import ENGINE, REGULAR, Key, Plan, paired_ratio
from secondsight.profiling.results import Measurement
from secondsight.sample import Sample


def measure_questions(plan: Plan, samples: Sequence[Sample], tokens: int) -> list[Measurement]:
    """Time questions on one image by every method and scheme.

    Args:
        plan: What is timed, and how often.
        samples: The questions.
        tokens: Tokens per answer.
    """
    model = plan.model

    def together(method: Method, share_views: bool = False) -> Callable[[], object]:
        return partial(
            model.answer_batch,
            samples,
            method,
            max_new_tokens=tokens,
            batch_size=len(samples),
            share_views=share_views,
        )

    regular = create("regular")
    tasks: dict[Key, Callable[[], object]] = {
        REGULAR: partial(_one_by_one, model, None, samples, tokens),
        ENGINE: together(regular),
    }
    for method in plan.methods:
        if "naive" in plan.schemes:
            tasks[method.spec, "naive"] = partial(_one_by_one, model, method, samples, tokens)
        if "auto" in plan.schemes:
            tasks[method.spec, "auto"] = together(method)
            tasks[method.spec, "auto, shared views"] = together(method, share_views=True)
    seconds: dict[Key, list[float]] = {key: [] for key in tasks}
    memory = dict.fromkeys(tasks, 0)
    for repeat, key in plan.stages("yes/no", tasks):
        model.prefixes.clear()
        with peak_memory(model.hf_model.device) as peak:
            start = time.perf_counter()
            tasks[key]()
            took = time.perf_counter() - start
        if repeat >= 0:
            seconds[key].append(took)
            memory[key] = max(peak[0], memory[key])
    forwards: dict[Key, int] = {}
    for key, task in tasks.items():
        model.prefixes.clear()
        forwards[key] = passes(model.hf_model, task)
    single = _single_first(model, samples)
    base = seconds[REGULAR]
    return [
        Measurement(
            workload="yes/no",
            method=key[0],
            scheme=key[1],
            seconds=statistics.median(taken),
            spread=(min(taken), max(taken)),
            ratio=paired_ratio(taken, base),
            per_token=None,
            token_ratio=None,
            floor_ratio=None,
            first_token=None,
            per_second=len(samples) / statistics.median(taken),
            forwards=forwards[key],
            peak_bytes=memory[key],
            single=single,
        )
        for key, taken in seconds.items()
    ]


def _one_by_one(
    model: Model, method: Method | None, samples: Sequence[Sample], tokens: int
) -> list[list[int]]:
    """Every question on its own: regular by ``generate``, or a method by the naive two passes."""
    return [
        schemes.regular(model, sample.opened(), tokens, Clock())
        if method is None
        else schemes.naive(model, method, sample.opened(), tokens, Clock())
        for sample in samples
    ]


def _single_first(model: Model, samples: Sequence[Sample]) -> float:
    """Share of the questions whose first token is alone plausible."""
    answers = model.answer_batch(samples, "apc", max_new_tokens=1, evidence=True)
    counts = [answer.evidence[0].plausible for answer in answers if answer.evidence]
    return sum(count == 1 for count in counts) / max(len(counts), 1)
