"""The comparison of the methods in a file of answers."""

from __future__ import annotations

from secondsight.benchmarks.comparison import Comparison, compare
from secondsight.benchmarks.scoring import Scored
from secondsight.benchmarks.statistics import RESAMPLES


def comparison_of(scored: Scored, *, resamples: int = RESAMPLES) -> Comparison | None:
    """Compares the methods whose answers were scored, on what all of them answered.

    Args:
        scored: The scored answers.
        resamples: Resamples of the bootstrap.

    Returns:
        The table over the seeds that all methods have; None where they have none in common, or
        the file does not name methods.
    """
    from secondsight.methods import controls
    from secondsight.methods.registry import is_control_of

    answers = {(found.method, found.seed): found.responses for found in scored.answers}
    methods = list(dict.fromkeys(method for method, _ in answers if method is not None))
    seeds = [
        seed
        for seed in sorted({seed for _, seed in answers if seed is not None})
        if all((method, seed) in answers for method in methods)
    ]
    if not methods or not seeds:
        return None
    used = [answers[method, seed] for method in methods for seed in seeds]
    items = [i for i in scored.task.items if all(i.id in responses for responses in used)]
    if not items:
        return None
    known = set(controls())
    return compare(
        scored.benchmark.name,
        scored.task,
        items,
        {
            method: {seed: [answers[method, seed][i.id] for i in items] for seed in seeds}
            for method in methods
        },
        [method for method in methods if method.partition(":")[0] in known],
        applies=is_control_of,
        resamples=resamples,
        warnings=list(dict.fromkeys(w for run in scored.runs for w in run.result.warnings)),
    )
