"""Benchmarks: scoring answers, running comparisons, and saying what they show.

Scoring answers that anyone's code produced: `score` for every benchmark, and `score_pope`,
`score_chair`, `score_mme`, `score_amber`, `score_yes_no` with results of their own. Generating and
scoring: `secondsight.benchmarks.runner.evaluate`, which is kept apart because it loads the models'
libraries. A benchmark of your own: `Benchmark`, `option`, `register`, `Task`, `Scorer`, `Metric`,
`CaptionCounts`.
"""

from secondsight.benchmarks.amber import Amber, AmberResult, score_amber
from secondsight.benchmarks.base import Benchmark, image_file
from secondsight.benchmarks.chair import CaptionDetail, Chair, ChairResult, score_chair
from secondsight.benchmarks.counts import Counts, ratio
from secondsight.benchmarks.mme import Mme, MmeResult, TaskScore, score_mme
from secondsight.benchmarks.options import option
from secondsight.benchmarks.pope import Pope, score_pope, score_yes_no
from secondsight.benchmarks.records import Problems, read_records
from secondsight.benchmarks.registry import create, names, register
from secondsight.benchmarks.scoring import Scored, ScoredRun, score
from secondsight.benchmarks.task import CaptionCounts, Item, Metric, Response, Scorer, Task
from secondsight.benchmarks.yesno import YES_NO_METRICS, YesNoResult, YesNoScorer
from secondsight.errors import DataError

__all__ = [
    "YES_NO_METRICS",
    "Amber",
    "AmberResult",
    "Benchmark",
    "CaptionCounts",
    "CaptionDetail",
    "Chair",
    "ChairResult",
    "Counts",
    "DataError",
    "Item",
    "Metric",
    "Mme",
    "MmeResult",
    "Pope",
    "Problems",
    "Response",
    "Scored",
    "ScoredRun",
    "Scorer",
    "Task",
    "TaskScore",
    "YesNoResult",
    "YesNoScorer",
    "create",
    "image_file",
    "names",
    "option",
    "ratio",
    "read_records",
    "register",
    "score",
    "score_amber",
    "score_chair",
    "score_mme",
    "score_pope",
    "score_yes_no",
]
