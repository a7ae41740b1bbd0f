"""What passes of a language model cost, roughly: enough to choose between schedules.

The figures are computed and never measured while a model runs: a schedule that followed a clock
would choose differently from run to run, and where arithmetic rounds, so would the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class Device:
    """How fast a kind of device is.

    Attributes:
        bandwidth: Bytes per second that it reads from memory.
        arithmetic: Operations per second on a few rows.
        layer: Seconds that a layer takes whatever it computes: Python, and starting kernels.
        row: Seconds that every row adds to a layer besides its products of matrices.
    """

    bandwidth: float
    arithmetic: float
    layer: float
    row: float


DEVICES: Final[Mapping[str, Device]] = MappingProxyType(
    {
        "cpu": Device(bandwidth=1e10, arithmetic=1e11, layer=8e-4, row=1e-4),
        "mps": Device(bandwidth=2e11, arithmetic=5e12, layer=4e-4, row=0),
        "cuda": Device(bandwidth=1e12, arithmetic=1e14, layer=3e-4, row=0),
    }
)
"""By torch's name; those of the CPU fit what was measured on two cores, the others data sheets."""

_FEW: Final = 4
_OF_MANY: Final = 0.25
"""Beyond the first few tokens of a pass, what each costs of what one of those does."""


@dataclass(frozen=True)
class Cost:
    """What one model's passes over single tokens cost on one device.

    Attributes:
        layers: How many layers the language model has.
        weights: How many weights, which a token passes through once.
        weight_bytes: What they take.
        position_bytes: What the keys and values of one position of one row take.
        device: Where they are.
    """

    layers: int
    weights: int
    weight_bytes: int
    position_bytes: int
    device: Device

    @classmethod
    def of(cls, model: PreTrainedModel) -> Cost:
        """The cost of a model's language part where it is now."""
        config = model.config.get_text_config(decoder=True)
        modules = [model.get_decoder(), model.get_output_embeddings()]
        weights = [
            weight for module in modules if module is not None for weight in module.parameters()
        ]
        return cls(
            layers=int(config.num_hidden_layers),
            weights=sum(weight.numel() for weight in weights),
            weight_bytes=sum(weight.nbytes for weight in weights),
            position_bytes=position_bytes(config, model.dtype),
            device=DEVICES.get(model.device.type, DEVICES["cuda"]),
        )

    @property
    def for_pass(self) -> float:
        """Seconds that a pass takes before its first row: every weight is read."""
        return self.layers * self.device.layer + self.weight_bytes / self.device.bandwidth

    def for_tokens(self, count: int | float) -> float:
        """Seconds that so many tokens add to a pass, besides attention.

        Many cost less than as many times one: products of matrices make better use of what they
        have read.
        """
        each = self.layers * self.device.row + 2 * self.weights / self.device.arithmetic
        return each * (min(count, _FEW) + max(count - _FEW, 0) * _OF_MANY)

    def for_attention(self, rows: int | float, positions: int) -> float:
        """Seconds that reading the keys and values of some rows takes."""
        return rows * positions * self.position_bytes / self.device.bandwidth


def position_bytes(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """What the keys and values of one position of one row take in all layers."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * dtype.itemsize)
