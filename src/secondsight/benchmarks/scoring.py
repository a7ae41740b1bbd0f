"""Scores of answers that are there already, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secondsight.benchmarks.answer_files import AnswerSet
from secondsight.benchmarks.base import Benchmark
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.registry import create
from secondsight.benchmarks.task import Item, Response, Result, Task
from secondsight.errors import DataError
from secondsight.files import PathLike


@dataclass(frozen=True)
class ScoredRun:
    """The score of one method's answers with one seed.

    Attributes:
        method: The method, where the file says it.
        seed: The seed, where the file says it.
        result: The score.
    """

    method: str | None
    seed: int | None
    result: Result


@dataclass(frozen=True)
class Scored:
    """A file of answers with its scores.

    Attributes:
        benchmark: The benchmark.
        task: What was asked.
        answers: What was answered, by method and seed.
        runs: Their scores, in the same order.
    """

    benchmark: Benchmark
    task: Task
    answers: tuple[AnswerSet, ...]
    runs: tuple[ScoredRun, ...]

    @property
    def result(self) -> Result:
        """The score of a file with the answers of one method and seed.

        Raises:
            DataError: There are several.
        """
        if len(self.runs) > 1:
            named = ", ".join(f"{run.method} (seed {run.seed})" for run in self.runs[:6])
            raise DataError(
                f"the file has answers of {len(self.runs)} runs, not of one: {named}"
                + ("; ..." if len(self.runs) > 6 else "")
            )
        return self.runs[0].result

    def to_dict(self) -> dict[str, Any]:
        """The score, or one for each method and seed under ``runs``; JSON-ready."""
        if len(self.runs) == 1:
            return self.result.to_dict()
        runs = [
            {"method": run.method, "seed": run.seed, **run.result.to_dict()} for run in self.runs
        ]
        return {"runs": runs}


def score(
    benchmark: str | Benchmark,
    answers: PathLike,
    *,
    options: Mapping[str, Any] | None = None,
    lenient: bool = False,
) -> Scored:
    """Scores answers that anyone's code produced, or the folder of a run of ours.

    Args:
        benchmark: The benchmark, or its name with options (``pope:parser=official``).
        answers: The answers, in the benchmark's own format or another that is known.
        options: Further options of the benchmark.
        lenient: Leave out what cannot be used, with a counted warning, instead of raising.

    Raises:
        DataError: Bad input, each case with file and line.
        UserError: An unknown benchmark or option.
    """
    made = create(benchmark, options)
    problems = Problems(lenient=lenient)
    task, sets = made.read(answers, problems)
    warnings = problems.settle()
    sets = tuple(found for found in sets if found.responses)
    if not sets:
        raise DataError(f"{answers}: holds no usable answer to {task.dataset}")
    runs = tuple(
        ScoredRun(found.method, found.seed, judge(task, found, warnings)) for found in sets
    )
    return Scored(made, task, sets, runs)


def judge(task: Task, answers: AnswerSet, warnings: tuple[str, ...] = ()) -> Result:
    """The score of one run's answers, those items alone that it answers.

    Args:
        task: What was asked.
        answers: What was answered.
        warnings: Notes to hand on.
    """
    items, responses = answered(task, answers)
    counts = task.scorer.count(items, responses)
    notes = (*warnings, *answers.notes, *unanswered(task, items))
    return task.scorer.result(items, responses, counts, notes)


def answered(task: Task, answers: AnswerSet) -> tuple[list[Item], list[Response]]:
    """The items that are answered, in the dataset's order, and their answers."""
    items = [item for item in task.items if item.id in answers.responses]
    return items, [answers.responses[item.id] for item in items]


def unanswered(task: Task, items: Sequence[Item]) -> list[str]:
    """What is said of groups of which nothing is answered; nothing where each item is a group."""
    groups = dict.fromkeys(item.group for item in task.items)
    there = {item.group for item in items}
    lacking = [group for group in groups if group not in there]
    if not lacking or len(groups) == len(task.items):
        return []
    return [f"not answered at all: {', '.join(lacking)} ({len(there)} of {len(groups)} are)"]
