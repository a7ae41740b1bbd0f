"""What the official codes computed, run by run; `README.md` says what is in the arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch

import secondsight

DATA: Final = Path(__file__).parent / "data"
IMAGES: Final = tuple(sorted((DATA / "images").glob("*.png")))
"""The two images that the recorded pixel values were made of."""
KINDS: Final = ("decoding", "layer", "attention", "opera")
NEW_TOKENS: Final = 24
"""New tokens of every run but OPERA's longer ones."""


@cache
def meta() -> dict[str, Any]:
    """Prompts, ids, official settings, and the hypotheses of the beam searches."""
    read: dict[str, Any] = json.loads((DATA / "meta.json").read_text())
    return read


@cache
def inputs() -> dict[str, torch.Tensor]:
    """Pixel values, features and ids that all runs started from; see `README.md`."""
    with np.load(DATA / "inputs.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored}


@cache
def _specs() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DATA / "specs.json").read_text())
    return read


@cache
def _arrays(kind: str, setting: str) -> dict[str, np.ndarray[Any, Any]]:
    path = DATA / kind / f"{setting}.npz"
    return dict(np.load(path)) if path.is_file() else {}


@cache
def _same_draws() -> bool:
    scores = torch.linspace(-1, 1, 32000)
    seeded = torch.Generator().manual_seed(0)
    return int(torch.multinomial(scores.softmax(0), 1, generator=seeded)) == 30603  # torch 2.14


@dataclass(frozen=True)
class Run:
    """One recorded answer.

    Attributes:
        kind: Which recordings it is of, one of `KINDS`.
        setting: The method with its settings, by the recordings' own name, as ``dola_high``.
        prompt: Which of the two prompts.
        image: Which of the two images.
        select: ``greedy``; ``sample0``, one draw per step from the seed 0; ``masked``, SID's
            greedy choice among what its mask leaves; ``beam``.
    """

    kind: str
    setting: str
    prompt: int
    image: int
    select: str

    def __str__(self) -> str:
        return f"{self.setting}_p{self.prompt}_i{self.image}_{self.select}"

    @property
    def preset(self) -> str:
        """The checkpoint's preset, for the fixture ``golden_model``."""
        return "deep32" if self._deep else str(_specs()[self.kind]["checkpoint"])

    @property
    def spec(self) -> str | None:
        """The method as a user writes it, None if no spec says it (``lcd-other``)."""
        spec = _specs()[self.kind]["runs"].get(self.setting.removeprefix("n32_"))
        if self.setting.startswith("sid") and self.select == "greedy":
            spec += ",official=true"  # the official greedy choice looks beyond the mask
        return spec

    @property
    def question(self) -> str:
        """The question, without image slot and conversation."""
        return str(meta()["prompts"][self.prompt])

    @property
    def sampling(self) -> dict[str, Any]:
        """Settings of the answer: ``temperature``, ``top_p`` and ``seed`` (greedy: 0, 1, 0).

        The one draw per step is torch's own, from a generator seeded with the seed.
        """
        if self.select != "sample0":
            return {"temperature": 0.0, "top_p": 1.0, "seed": 0}
        own = meta()["sampling"].get(self.setting, {})
        return {"temperature": 1.0, "top_p": 1.0, "seed": 0, **own}

    @property
    def repeatable(self) -> bool:
        """Whether this torch can draw what was drawn: a seed's numbers change between releases."""
        return self.select != "sample0" or _same_draws()

    @property
    def official(self) -> dict[str, Any]:
        """The settings by the official code's names."""
        found: dict[str, Any] = meta()["settings"][self.kind][self.setting]
        return found

    @property
    def image_file(self) -> Path:
        """The image; with it `Model.answer` starts from the recorded pixels, to 1e-5."""
        return IMAGES[self.image]

    @property
    def pixels(self) -> torch.Tensor:
        """The recorded pixel values, float32 of shape (1, 3, 56, 56)."""
        return inputs()[f"pixel_values_pad_{self.image}"]

    @property
    def new_tokens(self) -> int:
        """How many tokens were recorded."""
        return len(self.tokens)

    @cached_property
    def tokens(self) -> list[int]:
        """The answer's ids."""
        if self.kind == "opera":
            found: list[int] = self.beams["tokens"]
            return found
        return [int(token) for token in self["tokens"]]

    @property
    def beams(self) -> dict[str, Any]:
        """A beam search's ``tokens``, ``hypotheses``, ``iterations`` and ``rollbacks``."""
        found: dict[str, Any] = meta()["beams"][str(self).removesuffix("_beam")]
        return found

    def __contains__(self, name: str) -> bool:
        stored = _arrays(self.kind, self.setting)
        return name in stored or f"{name}@{self._place}" in stored

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        """An array of the run by name, its first dimension steps."""
        stored = _arrays(self.kind, self.setting)
        if name in stored:
            return stored[name][stored["runs"].tolist().index(self._place)]
        return stored[f"{name}@{self._place}"]

    @property
    def _place(self) -> str:
        place = f"p{self.prompt}_i{self.image}"
        return place if self.select == "beam" else f"{place}_{self.select}"

    @property
    def _deep(self) -> bool:
        return self.setting.startswith("n32_")

    @contextmanager
    def features(self, model: secondsight.Model) -> Iterator[None]:
        """Within it the model sees the features that it saw when the run was recorded.

        Only the runs on ``deep32`` need it: their photograph is not here, its 576 features are.
        """
        name = "projected_features_336_" if self._deep else "projected_features_"
        recorded = inputs()[f"{name}{self.image}"]

        def said(towers: torch.Tensor) -> torch.Tensor:
            return recorded.expand(len(towers), -1, -1)

        with patch.object(model.hf_model.model.multi_modal_projector, "forward", said):
            yield


def runs(
    kind: str, method: str | None = None, *, select: str | None = None, preset: str | None = None
) -> list[Run]:
    """The recorded runs of a kind, in order; made for ``pytest.mark.parametrize(..., ids=str)``.

    Args:
        kind: One of `KINDS`.
        method: Only this method's (``dola``), all settings of it.
        select: Only ``greedy``, ``sample0``, ``masked`` or ``beam``.
        preset: Only those of this checkpoint.
    """
    found = []
    for setting in meta()["settings"][kind]:
        places = [str(name) for name in _arrays(kind, setting).get("runs", ())]
        if kind == "opera":
            split = (name.rpartition("_p") for name in meta()["beams"])
            places = [f"p{place}_beam" for of, _, place in split if of == setting]
        for place in places:
            prompt, image, selected = place.split("_")
            found.append(Run(kind, setting, int(prompt[1:]), int(image[1:]), selected))
    return [
        run
        for run in found
        if (select is None or run.select == select)
        and (preset is None or run.preset == preset)
        and (method is None or _method(run) == method)
    ]


def _method(run: Run) -> str:
    """The method of a run: ``dola`` of ``n32_dola_high``, ``pai`` of ``pai-strong``."""
    return run.setting.removeprefix("n32_").replace("-", "_").partition("_")[0]
