"""Yes/no questions about images, put to the model while it is busy, each once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image

from secondsight.answer import FinishReason
from secondsight.checking.questions import answer_ids, refusals
from secondsight.decoding.rows import Prompt
from secondsight.decoding.sequence import Prepared, Update
from secondsight.decoding.step import Step
from secondsight.inference.backbone import Backbone
from secondsight.inference.prepare import prefix_of
from secondsight.inference.runner import Handle, Runner
from secondsight.methods import create
from secondsight.sample import Sample


class Asker:
    """Asks about the images of a sample; questions of one call are answered in one batch.

    What the questions' prompts have in common, images included, is read once; where the answer's
    own prompt begins alike, not even that.

    Args:
        backbone: The model.
        runner: Runs its engine.
        seen: The sample as each view that is asked sees it, its images opened.
        constants: Inputs of every forward pass that belong to no prompt.
        told: Called when all that was asked has been heard, in the thread that makes the step.
        failed: Called with what went wrong, in its place.

    Attributes:
        heard: p(no) / (p(yes) + p(no)) by question, for each view.
    """

    def __init__(
        self,
        backbone: Backbone,
        runner: Runner,
        seen: Sequence[Sample],
        constants: Mapping[str, Any],
        *,
        told: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.heard: dict[str, list[float]] = {}
        self._backbone, self._runner, self._constants = backbone, runner, constants
        self._seen = [replace(one, history=(), places=(), reply=None) for one in seen]
        self._like: list[dict[str, Any] | None] = [None for _ in seen]
        self._told, self._failed = told, failed
        self._answers = answer_ids(backbone.tokenizer)
        self._said: dict[str, dict[int, torch.Tensor]] = {}
        self._handles: list[Handle] = []

    def ask(self, questions: Sequence[str]) -> None:
        """Ask what has not been asked yet.

        Raises:
            UserError: A question is too long for the model.
        """
        new = [one for one in dict.fromkeys(questions) if one not in self._said]
        prepared = [
            (one, [self._prepared(view, one) for view in range(len(self._seen))]) for one in new
        ]
        for question, views in prepared:
            said = self._said[question] = {}
            for view, one in enumerate(views):
                keep, hear = partial(_keep, said, view), partial(self._hear, question)
                self._handles.append(self._runner.submit(one, hear, keep))

    def cancel(self) -> None:
        """Ask no further."""
        for handle in self._handles:
            self._runner.cancel(handle)

    def _prepared(self, view: int, question: str) -> Prepared:
        seen = replace(self._seen[view], question=question)
        inputs = self._like[view] = self._backbone.encode(seen, self._like[view])
        prompt = Prompt(self._backbone.to_device(inputs), prefix_of(self._backbone, inputs))
        return Prepared(create("regular"), ((prompt, 0),), _OneToken, constants=self._constants)

    def _hear(self, question: str, update: Update) -> None:
        if update.sequence.error is not None:
            self._failed(update.sequence.error)
            return
        said = self._said[question]
        if len(said) == len(self._seen):
            logits = torch.stack([said[view] for view in range(len(said))])
            self.heard[question] = refusals(logits, *self._answers)
        if len(self.heard) == len(self._said):
            self._told()


class _OneToken:
    """The sampler of a reply of which the first token says all."""

    watched = False

    def process(self, scores: torch.Tensor) -> torch.Tensor:
        return scores

    def choose(self, scores: torch.Tensor) -> torch.Tensor | None:
        return None

    def write(self, tokens: Sequence[int]) -> list[FinishReason | None]:
        return ["length"]


def _keep(said: dict[int, torch.Tensor], view: int, step: Step) -> None:
    said[view] = step.logits[0].detach().clone()


def blank(seen: Sample) -> Sample:
    """A sample with grey images in place of its own."""
    grey = [Image.new("RGB", image.size, (127, 127, 127)) for image in seen.images]
    return seen.showing(grey)
