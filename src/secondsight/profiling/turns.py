"""Tasks timed whole, taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from secondsight.profiling.meter import passes, peak_memory
from secondsight.profiling.plan import REGULAR, Key, Plan, paired_ratio
from secondsight.profiling.results import Measurement


def take_turns(
    plan: Plan,
    workload: str,
    tasks: Mapping[Key, Callable[[], object]],
    begin: Callable[[Key], None],
) -> dict[Key, Measurement]:
    """Time every task several times over, and count its passes in a run that is not timed.

    Args:
        plan: Who is timed when.
        workload: What the measurements are of.
        tasks: The tasks, regular decoding among them.
        begin: Brings the model, before each run, to where a task begins.

    Returns:
        The measurements; ``per_second`` counts runs.
    """
    model = plan.model.hf_model
    seconds: dict[Key, list[float]] = {key: [] for key in tasks}
    memory = dict.fromkeys(tasks, 0)
    for repeat, key in plan.stages(workload, tasks):
        begin(key)
        with peak_memory(model.device) as peak:
            start = time.perf_counter()
            tasks[key]()
            took = time.perf_counter() - start
        if repeat >= 0:
            seconds[key].append(took)
            memory[key] = max(peak[0], memory[key])
    found: dict[Key, Measurement] = {}
    for key, taken in seconds.items():
        begin(key)
        found[key] = Measurement(
            workload=workload,
            method=key[0],
            scheme=key[1],
            seconds=statistics.median(taken),
            spread=(min(taken), max(taken)),
            ratio=paired_ratio(taken, seconds[REGULAR]),
            per_token=None,
            token_ratio=None,
            floor_ratio=None,
            first_token=None,
            per_second=1 / statistics.median(taken),
            forwards=passes(model, tasks[key]),
            peak_bytes=memory[key],
            single=None,
        )
    return found
