"""Yes/no questions: many short answers on one image, where prompts and batches count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from secondsight.inference.model import Model
from secondsight.methods import Method, create
from secondsight.profiling import schemes
from secondsight.profiling.meter import Clock
from secondsight.profiling.plan import ENGINE, REGULAR, Key, Plan
from secondsight.profiling.results import Measurement
from secondsight.profiling.turns import take_turns
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
    found = take_turns(plan, "yes/no", tasks, lambda key: model.prefixes.clear())
    single = _single_first(model, samples)
    return [
        replace(one, per_second=len(samples) / one.seconds, single=single) for one in found.values()
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
