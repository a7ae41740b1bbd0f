"""A model that answers at once, for tests of what is made of answers."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from secondsight.answer import Answer
from secondsight.checking import Calibrations
from secondsight.errors import UserError
from secondsight.presets import PRESETS, Preset
from secondsight.request import Request
from secondsight.sample import Sample


def answer(text: str, ids: tuple[int, ...] = (1,)) -> Answer:
    return Answer(text, ids, "eos", {}, {})


class Killed(BaseException):
    """What a test raises in place of kill -9."""


@dataclass
class FakeModel:
    """Says yes or no (or a caption) by a hash of method, seed and sample id.

    `right` gives per method name the share of answers that are right, where `labels` knows the
    sample; `budget` is the number of batches until it is killed. A `deadly` sample kills the
    process; `pause` is how long a batch takes, in seconds.
    """

    labels: dict[str, str] = field(default_factory=dict)
    right: dict[str, float] = field(default_factory=dict)
    budget: int | None = None
    broken: frozenset[str] = frozenset()
    deadly: frozenset[str] = frozenset()
    pause: float = 0.0
    name: str = "fake"
    preset: Preset = PRESETS["llava-official"]
    revision: str | None = None
    identity: str = "sha256:fake"
    calibrations: Calibrations = field(default_factory=Calibrations)
    hf_model: torch.nn.Module = field(default_factory=lambda: torch.nn.Linear(2, 1, bias=False))
    calls: list[tuple[str, int, list[str]]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.nn.init.ones_(self.hf_model.weight)

    def outcomes(
        self, requests: Sequence[Request], *, batch_size: int
    ) -> Iterator[tuple[int, Answer | UserError]]:
        if self.budget is not None and len(self.calls) >= self.budget:
            raise Killed
        time.sleep(self.pause)
        samples = [request.sample for request in requests]
        if self.deadly & {str(sample.id) for sample in samples}:
            os.kill(os.getpid(), signal.SIGKILL)
        method, seed = requests[0].decoding.spec, requests[0].settings.seed
        self.calls.append((method, seed, [str(sample.id) for sample in samples]))
        self.questions += [sample.question for sample in samples]
        for number, sample in reversed(list(enumerate(samples))):  # in any order
            broken = str(sample.id) in self.broken
            yield number, UserError("broken") if broken else self._answer(method, seed, sample)

    def _answer(self, method: str, seed: int, sample: Sample) -> Answer:
        identifier = str(sample.id)
        digest = hashlib.sha256(f"{method}/{seed}/{identifier}".encode()).digest()
        label = self.labels.get(identifier, "yes")
        right = digest[0] / 256 < self.right.get(method.partition(":")[0], 0.5)
        other = {"yes": "no", "no": "yes"}[label]
        return answer(f"{label if right else other}, \u00fcber\u2028all", (1, 2, digest[1]))
