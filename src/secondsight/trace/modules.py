"""Where models keep the modules that a trace looks at; families name them differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

VISION: Final = ("vision_tower", "visual", "vision_model")
RESAMPLER: Final = ("qformer",)
PROJECTOR: Final = (
    "multi_modal_projector",
    "mm_projector",
    "merger",
    "connector",
    "language_projection",
)
LAYERS: Final = ("layers", "blocks", "h")
_NORM: Final = ("norm", "final_layer_norm", "final_layernorm", "ln_f")
_ATTENTION: Final = ("self_attn", "attn", "attention")


@dataclass(frozen=True)
class Layers:
    """The layers of a language model.

    Attributes:
        name: Their name inside the whole model.
        modules: The layers, in order.
        norm: The normalisation after the last one; None where there is none.
    """

    name: str
    modules: nn.ModuleList
    norm: nn.Module | None

    @property
    def attentions(self) -> dict[int, nn.Module]:
        """Each layer's attention, by the layer's number."""
        found = {}
        for number, layer in enumerate(self.modules):
            attention = first_of(layer, _ATTENTION)
            if attention is not None:
                found[number] = attention
        return found


def language_layers(model: Any) -> Layers | None:
    """The language model's layers; None where they are not in a list under a known name."""
    decoder = model.get_decoder()
    prefix = next((name for name, module in model.named_modules() if module is decoder), "")
    for name, module in decoder.named_modules():
        for child in LAYERS:
            layers = getattr(module, child, None)
            if isinstance(layers, nn.ModuleList):
                path = ".".join(filter(None, (prefix, name, child)))
                return Layers(path, layers, first_of(module, _NORM))
    return None


def first_of(module: nn.Module, names: Sequence[str]) -> nn.Module | None:
    """A module's own child that has one of these names."""
    children = dict(module.named_children())
    return next((children[name] for name in names if name in children), None)


def find(model: nn.Module, names: Sequence[str]) -> tuple[str, nn.Module] | None:
    """The first module, at any depth, that has one of these names; its full name with it."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in names:
            return name, module
    return None
