"""Attention, logit lens and dependence on the image, from a teacher-forced pass over every view."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from secondsight.decoding.changes import Changes
from secondsight.decoding.transformers5 import final_softcap
from secondsight.errors import UnsupportedError
from secondsight.inference.backbone import Backbone
from secondsight.inference.prepare import PreparedRequest
from secondsight.trace.attention import AttentionCollector, fitting
from secondsight.trace.keep import Keeper
from secondsight.trace.lens import Lens
from secondsight.trace.maps import ViewAttention
from secondsight.trace.patches import Patches
from secondsight.trace.teacher_forcing import TeacherForcedPass
from secondsight.trace.token_facts import LensLayer
from secondsight.trace.tokens import TokenReader, TokenRecorder
from secondsight.views import NoImage

MAP_BYTES: Final = 5_000_000
"""Room for attention maps in a report, so that it stays below 10 MB for LLaVA-1.5-7B."""

_SAME: Final = 0.02
"""How far a probability may be from itself in half precision."""

_NO_LENS: Final = (
    "No logit lens: this family's last normalisation or output head is not where it is known to be."
)
_OTHER_LENS: Final = (
    "The logit lens ends otherwise than the model: this family does something to its logits, such "
    "as scaling them, that the lens leaves out."
)


@dataclass(frozen=True)
class Interpretation:
    """What the passes showed.

    Attributes:
        attention: Attention to the patches, by view.
        lens: For each token, what each layer would have said.
        without_image: The log-probability of each token without the image, where it can be told.
        notes: What could not be shown for this model.
        read: The texts of single tokens.
    """

    attention: tuple[ViewAttention, ...]
    lens: tuple[tuple[LensLayer, ...], ...]
    without_image: list[float] | None
    notes: tuple[str, ...]
    read: TokenReader


def interpret(
    backbone: Backbone,
    prepared: PreparedRequest,
    patches: Sequence[Patches | None],
    tokens: TokenRecorder,
    changes: Sequence[Changes | None],
    *,
    keeper: Keeper,
    attentions: bool,
    rollout: bool,
    layers: Collection[int],
) -> Interpretation:
    """Run over the finished answer once per view, and once without the image.

    Args:
        backbone: The model.
        prepared: The request.
        patches: Where each view's patches are.
        tokens: The answer, token by token.
        changes: What each view changed inside the model.
        keeper: Keeps tensors whole, if it is asked to.
        attentions: Whether to collect attention to the patches.
        rollout: Whether to roll it out through the layers as well.
        layers: Layers whose heads are kept in any case.
    """
    found = _Passes(backbone, prepared, tokens, changes, keeper)
    for place, name in enumerate(prepared.names):
        own = patches[place]
        collector = None
        if attentions and own is not None and len(own.everywhere):
            rows = found.forced.rows(prepared.inputs[place])
            collector = AttentionCollector(name, rows, own, rollout=rollout, keeper=keeper)
        found.run(place, collector)
    if patches[0] is not None and patches[0].note is not None:
        found.notes.append(patches[0].note)
    return Interpretation(
        attention=fitting(found.attention, wanted=layers, budget=MAP_BYTES),
        lens=found.lens,
        without_image=found.without_image(),
        notes=tuple(found.notes),
        read=found.read,
    )


class _Passes:
    """The passes over one answer."""

    def __init__(
        self,
        backbone: Backbone,
        prepared: PreparedRequest,
        tokens: TokenRecorder,
        changes: Sequence[Changes | None],
        keeper: Keeper,
    ) -> None:
        self._backbone, self._prepared = backbone, prepared
        self._tokens, self._changes, self._keeper = tokens, changes, keeper
        self.forced = TeacherForcedPass(backbone.hf_model, tokens.ids)
        self.read = TokenReader(backbone.tokenizer)
        self.attention: list[ViewAttention] = []
        self.lens: tuple[tuple[LensLayer, ...], ...] = ()
        self.notes: list[str] = []

    def run(self, place: int, collector: AttentionCollector | None) -> None:
        """The pass over one view; the lens is on the original alone."""
        name, inputs = self._prepared.names[place], self._prepared.inputs[place]
        lens = self._lens(inputs) if place == 0 else None
        hidden = (name, self._keeper) if self._keeper.wanted else None
        if collector is None and lens is None and hidden is None:
            return
        log_probabilities = self.forced.run(
            self._backbone.to_device(inputs),
            changes=self._changes[place],
            attention=collector,
            lens=lens,
            hidden=hidden,
        )
        if lens is not None:
            self.lens = lens.result(self.read)
            ends = zip(self.lens, log_probabilities, strict=True)
            if any(abs(layers[-1].probability - math.exp(log)) > _SAME for layers, log in ends):
                self.notes.append(_OTHER_LENS)
        shown = None if collector is None else collector.result()
        if shown is not None:
            self.attention.append(shown)

    def _lens(self, inputs: Mapping[str, Any]) -> Lens | None:
        layers, head = self.forced.layers, self._backbone.hf_model.get_output_embeddings()
        if layers is None or layers.norm is None or head is None:
            self.notes.append(_NO_LENS)
            return None
        cap = final_softcap(self._backbone.hf_model)
        return Lens(layers.norm, head, self.forced.rows(inputs), self._tokens.ids, cap=cap)

    def without_image(self) -> list[float] | None:
        """The log-probability of each token in the same place without the image."""
        sample = self._prepared.sample
        if not sample.images:
            return None
        view = NoImage()
        if view.name in self._prepared.names:
            return self._tokens.log_probabilities(view.name)
        try:
            inputs = self._backbone.encoder.encode(view.apply(sample, torch.Generator()))
        except UnsupportedError as error:
            self.notes.append(f"How much a word depended on the image cannot be told: {error}")
            return None
        return self.forced.run(self._backbone.to_device(inputs))
