"""Benchmarks: scoring answers, running comparisons, and saying what they show.

Scoring answers that anyone's code produced: `score_pope`, `score_chair`, `score_mme`,
`score_amber`, `score_yes_no`. Generating and scoring: `secondsight.benchmarks.runner.evaluate`,
which is kept apart because it loads the models' libraries.
"""

from secondsight.benchmarks.amber import AmberResult, score_amber
from secondsight.benchmarks.base import Benchmark, Item, Source, create, names, register
from secondsight.benchmarks.chair import CaptionDetail, ChairResult, score_chair
from secondsight.benchmarks.mme import MmeResult, TaskScore, score_mme
from secondsight.benchmarks.pope import YesNoResult, score_pope, score_yes_no
from secondsight.errors import DataError

__all__ = [
    "AmberResult",
    "Benchmark",
    "CaptionDetail",
    "ChairResult",
    "DataError",
    "Item",
    "MmeResult",
    "Source",
    "TaskScore",
    "YesNoResult",
    "create",
    "names",
    "register",
    "score_amber",
    "score_chair",
    "score_mme",
    "score_pope",
    "score_yes_no",
]
