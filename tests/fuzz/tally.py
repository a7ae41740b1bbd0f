"""What a fuzzer counts, and how it goes on after a crash or an endless try.

A fuzzer's tries are numbered, and each depends on the seed and its number alone. They run in a
child process, which is started again with the next number when it dies or stands still.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

GOOD, REFUSED, WRONG, ACCEPTED, SLOW = "taken", "refused well", "wrong", "wrongly accepted", "slow"
OUTCOMES = (GOOD, REFUSED, WRONG, ACCEPTED, SLOW)

LONGEST_MESSAGE = 1200
STANDS_STILL = 120.0


@dataclass
class Outcome:
    """What came of a try.

    Attributes:
        kind: What was tried, for the table's line.
        result: One of `OUTCOMES`.
        detail: What happened, where it is wrong.
    """

    kind: str
    result: str
    detail: str = ""


@dataclass
class Tally:
    """Counts by kind, and examples of what went wrong."""

    counts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: dict[str, tuple[int, str]] = field(default_factory=dict)
    most_memory: int = 0

    def add(self, number: int, outcome: Outcome) -> None:
        self.counts[outcome.kind][outcome.result] += 1
        if outcome.result not in (GOOD, REFUSED):
            self.faults.setdefault(
                f"{outcome.kind}: {outcome.result}: {outcome.detail}"[:300],
                (number, outcome.detail),
            )

    @property
    def bad(self) -> int:
        return sum(
            sum(one[name] for name in (WRONG, ACCEPTED, SLOW)) for one in self.counts.values()
        )

    def table(self) -> str:
        total: Counter[str] = sum(self.counts.values(), Counter())
        lines = [f"{'kind':34}{'tried':>9}" + "".join(f"{name:>18}" for name in OUTCOMES)]
        for kind, counts in [*sorted(self.counts.items()), ("all", total)]:
            cells = "".join(f"{counts[name]:>18,}" for name in OUTCOMES)
            lines.append(f"{kind:34}{sum(counts.values()):>9,}{cells}")
        for text, (number, _) in list(self.faults.items())[:40]:
            lines.append(f"try {number}: {text}")
        return "\n".join(lines)


def one_line(error: BaseException) -> str | None:
    """What is wrong with a refusal's message; None if nothing is."""
    text = str(error)
    if "\n" in text or not text.strip():
        return f"a message that is not one line: {text[:80]!r}"
    if len(text) > LONGEST_MESSAGE:
        return f"a message of {len(text)} characters"
    return None


@contextlib.contextmanager
def written_to_stderr() -> Iterator[list[str]]:
    """Catches what C libraries write past Python; it is in the list at the end."""
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            if text := file.read().decode(errors="replace"):
                said.append(text)


def run(attempt: Callable[[int, int], Outcome], arguments: list[str] | None = None) -> int:
    """The command line of a fuzzer.

    Args:
        attempt: Makes the try of a seed and a number.
        arguments: Those of the command line.

    Returns:
        0 if nothing is wrong.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=1_000_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat this try alone, in this process")
    options = parser.parse_args(arguments)
    if options.only is not None:
        print(attempt(options.seed, options.only))
        return 0
    tally = Tally()
    end = time.monotonic() + options.seconds
    number = 0
    while number < options.tries and time.monotonic() < end:
        number = _child(attempt, tally, options.seed, number, options.tries, end)
    print(tally.table())
    print(f"largest process: {tally.most_memory / 2**20:,.0f} MB")
    return int(tally.bad > 0)


def _child(
    attempt: Callable[[int, int], Outcome],
    tally: Tally,
    seed: int,
    first: int,
    last: int,
    end: float,
) -> int:
    """Run tries in a child until it ends; the number of the next one."""
    context = multiprocessing.get_context("fork")
    results: Any = context.Queue()
    child = context.Process(target=_tries, args=(attempt, seed, first, last, end, results))
    child.start()
    number, heard = first, time.monotonic()
    try:
        while True:
            try:
                done, outcome, memory = results.get(timeout=1)
            except Empty:
                if not child.is_alive():
                    tally.add(number, Outcome("process", WRONG, f"died: {child.exitcode}"))
                    return number + 1
                if time.monotonic() - heard > STANDS_STILL:
                    tally.add(number, Outcome("process", SLOW, "stood still"))
                    return number + 1
                continue
            if isinstance(outcome, str):
                raise RuntimeError(f"the fuzzer itself failed in try {done}:\n{outcome}")
            if outcome is None:
                return last if done >= last else sys.maxsize
            tally.add(done, outcome)
            tally.most_memory = max(tally.most_memory, memory)
            number, heard = done + 1, time.monotonic()
    finally:
        child.kill()
        child.join()


def _tries(
    attempt: Callable[[int, int], Outcome],
    seed: int,
    first: int,
    last: int,
    end: float,
    results: Any,
) -> None:
    number = first
    while number < last and time.monotonic() < end:
        try:
            outcome = attempt(seed, number)
        except Exception:
            results.put((number, traceback.format_exc(), 0))
            return
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        results.put((number, outcome, memory))
        number += 1
    results.put((number, None, 0))
