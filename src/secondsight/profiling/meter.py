"""What one run costs: seconds, forward passes, memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from transformers import PreTrainedModel, StoppingCriteria


class Clock(StoppingCriteria):
    """Notes when every token was there; stops nothing."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def note(self) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Note the time, as `generate` asks a stopping criterion."""
        self.note()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@dataclass(frozen=True)
class Timing:
    """One run.

    Attributes:
        seconds: The whole run.
        first_token: Until the first token.
        per_token: Seconds per token after the first.
        times: When each token was there, in seconds from the start.
        peak_bytes: Memory at its highest, above what was in use before.
        answer: The token ids.
    """

    seconds: float
    first_token: float
    per_token: float
    times: list[float]
    peak_bytes: int
    answer: list[int]


def timed(model: PreTrainedModel, task: Callable[[Clock], list[int]]) -> Timing:
    """Run a task once, with nothing attached to the model: a hook would change what is timed.

    Args:
        model: The model that it uses.
        task: Generates the ids of an answer, and notes when each was there.
    """
    clock = Clock()
    with peak_memory(model.device) as peak:
        start = time.perf_counter()
        answer = task(clock)
        seconds = time.perf_counter() - start
    later = clock.times[-1] - clock.times[0]
    return Timing(
        seconds=seconds,
        first_token=clock.times[0] - start,
        per_token=later / max(len(clock.times) - 1, 1),
        times=[moment - start for moment in clock.times],
        peak_bytes=peak[0],
        answer=answer,
    )


def passes(model: PreTrainedModel, task: Callable[[], object]) -> int:
    """Count the model's forward passes in a run of a task that is not timed.

    Args:
        model: The model that it uses.
        task: The task.
    """
    count = [0]

    def add(*_: object) -> None:
        count[0] += 1

    hook = model.register_forward_hook(add)
    try:
        task()
    finally:
        hook.remove()
    return count[0]


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[int]]:
    """The highest use of memory above the present one, in bytes, known once the block is left."""
    peak = [0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak[0] = torch.cuda.max_memory_allocated(device) - before
        return
    process = psutil.Process()
    before = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
