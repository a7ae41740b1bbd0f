"""AvisC: contrast with what the model says when it sees its blind image tokens alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import torch

from secondsight.edits import AttentionEdit, EditedRows, Overwritten
from secondsight.errors import MethodError, nearest
from secondsight.layout import PromptLayout
from secondsight.methods.base import Method, parameter
from secondsight.methods.registry import register
from secondsight.sample import Sample
from secondsight.views import Original, View, needs_image

_FILLS: Final = {"zeros": 0.0, "ones": 1.0, "noise": None}


@dataclass(frozen=True)
class WatchImage(AttentionEdit):
    """Keeps how much the prompt's last position attends to each image token, layer by layer."""

    def queries(self, layout: PromptLayout) -> slice:
        """The prompt's last position."""
        return slice(layout.end, layout.length)

    def weights(self, layer: int, weights: torch.Tensor, at: EditedRows) -> torch.Tensor:
        """Take note, and change nothing."""
        ends = torch.tensor([one.end for one in at.layouts], device=weights.device)
        places = ends - at.positions[:, 0, 0, 0]
        rows = torch.arange(len(weights), device=weights.device)
        at.memory.setdefault("layers", []).append(weights[rows, :, places].mean(dim=1))
        return weights

    def facts(self, at: EditedRows) -> Sequence[Mapping[str, Any]]:
        """``image_attention``, float32 of shape (layers, image tokens)."""
        image, device = at.image[:, 0, 0], at.image.device
        layers = torch.stack([layer.to(device) for layer in at.memory["layers"]], dim=1)
        return [
            {"image_attention": row[:, own].cpu()} for row, own in zip(layers, image, strict=True)
        ]


@dataclass(frozen=True)
class BlindOnly:
    """The same prompt, the embeddings of all image tokens overwritten but those of blind ones.

    Blind are the tokens to which the base's prompt attends `threshold` standard deviations more
    than to the mean one, in the fewest layers that have `gamma` of the attention to the image.

    Attributes:
        gamma: The share of attention.
        threshold: The number of standard deviations.
        fill: What is written over the others: ``zeros``, ``ones`` or ``noise``.
        seed: Of the noise.
    """

    gamma: float = 0.5
    threshold: float = 1.0
    fill: str = "zeros"
    seed: int = 0
    name: str = "blind tokens"
    inside: ClassVar[bool] = True

    @property
    def draws(self) -> bool:
        """Whether another seed may give another view."""
        return self.fill == "noise"

    @property
    def probe(self) -> AttentionEdit:
        """See `Late.probe`."""
        return WatchImage()

    def apply(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Attach the decision, which waits for the base's prompt.

        Raises:
            ImageError: The sample has no image.
        """
        needs_image(sample)
        if not self.draws:
            return replace(sample, late=self)
        seed = int(torch.randint(2**62, (), generator=generator))
        return replace(sample, late=replace(self, seed=seed))

    def overwritten(self, found: Mapping[str, Any], layout: PromptLayout) -> Overwritten:
        """See `Late.overwritten`."""
        attention: torch.Tensor = found["image_attention"]
        shares, layers = (attention.sum(dim=1) / attention.sum()).sort(descending=True, stable=True)
        used = layers[: 1 + int((shares.cumsum(dim=0) < self.gamma).sum())]
        weights = attention[used].mean(dim=0)
        spread = weights.std(correction=min(1, len(weights) - 1))
        blind = weights >= weights.mean() + self.threshold * spread
        facts = {
            "blind_tokens": tuple(blind.nonzero()[:, 0].tolist()),
            "layers_used": tuple(used.tolist()),
        }
        positions = layout.image_positions[~blind].tolist()
        return Overwritten(positions, _FILLS[self.fill], self.seed, facts)


@register("avisc")
@dataclass(frozen=True)
class AvisC(Method):
    """Subtract what the model says when it sees its blind image tokens alone."""

    source: ClassVar[str] = "arXiv 2405.17820"
    alpha: float = parameter(1.0, "weight of the contrast")
    gamma: float = parameter(
        0.5, "share of the attention to the image by which layers are chosen", low=0, high=1
    )
    threshold: float = parameter(
        1.0, "lambda: blind tokens are so many standard deviations above the mean"
    )
    fill: str = parameter("zeros", "what other image tokens become: zeros, ones, or noise")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fill not in _FILLS:
            raise MethodError(
                f"avisc: fill must be zeros, ones or noise, not {self.fill!r}."
                f"{nearest(self.fill, _FILLS)}"
            )

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The image, and the image by its blind tokens."""
        return (Original(), BlindOnly(self.gamma, self.threshold, self.fill))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """``(1 + alpha) * l - alpha * l-``."""
        return (1 + self.alpha) * logits[0] - self.alpha * logits[1]
