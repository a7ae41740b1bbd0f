"""Asking a model a benchmark's questions: what is asked, and what the answers depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from secondsight.answer import Answer
from secondsight.benchmarks.run import Given
from secondsight.benchmarks.task import Item
from secondsight.errors import UserError
from secondsight.inference.model import Model
from secondsight.methods import Method
from secondsight.request import Request
from secondsight.sample import Sample
from secondsight.settings import Settings

_VERSIONS: Final = ("secondsight", "torch", "torchvision", "transformers", "pillow", "numpy")
"""Packages that have a hand in the answers."""


@dataclass(frozen=True)
class Asking:
    """How a run asks.

    Attributes:
        preset: The name of the protocol, with which the model must be loaded.
        suffix: What the protocol appends to this benchmark's questions.
        methods: The methods by canonical name.
        settings: The settings of every answer, without the seed.
        batch_size: Samples per batch.
    """

    preset: str
    suffix: str
    methods: Mapping[str, Method]
    settings: Mapping[str, Any]
    batch_size: int

    def sample(self, item: Item) -> Sample:
        """What the model is asked."""
        return Sample(item.shown(), item.question + self.suffix, id=item.id)

    def answers(
        self, model: Model, method: str, seed: int, items: Sequence[Item]
    ) -> list[Given | UserError]:
        """A model's answers to items, and what is wrong with those that have none."""
        settings, made = Settings(**self.settings, seed=seed), self.methods[method]
        requests = [Request(self.sample(item), made, settings) for item in items]
        outcomes = dict(model.outcomes(requests, batch_size=self.batch_size))
        return [
            Given(one.text, len(one.ids), one.finish_reason) if isinstance(one, Answer) else one
            for one in (outcomes[number] for number in range(len(items)))
        ]

    def made_with(self, model: Model) -> dict[str, Any]:
        """What answers depend on beside the question: the model, and what computes it.

        Raises:
            UserError: The model was loaded with another protocol.
        """
        if model.preset.name != self.preset:
            raise UserError(
                f"the model was loaded with the preset {model.preset.name!r}, but the run asks for "
                f"{self.preset!r}; load it with that preset"
            )
        first = next(model.hf_model.parameters())
        return {
            # A folder by its own name: where it lies on this machine changes no answer.
            "model": Path(model.name).name if Path(model.name).is_dir() else model.name,
            "revision": model.revision,
            "weights": model.identity,
            "dtype": str(first.dtype).removeprefix("torch."),
            "device": first.device.type,
            "preset": self.preset,
            **(
                {"calibrations_sha256": model.calibrations.digest}
                if any(method.checks() for method in self.methods.values())
                else {}
            ),
            "versions": {name: version(name) for name in _VERSIONS},
        }
