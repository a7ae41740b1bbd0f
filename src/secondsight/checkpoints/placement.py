"""Where a model's weights go, and as what: device, type, quantisation, attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

from secondsight.checkpoints.damage import in_a_line
from secondsight.devices import best_device
from secondsight.errors import UnsupportedError, UserError, nearest
from secondsight.extras import require

_DTYPES: Final = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

ATTENTION: Final = ("eager", "sdpa", "flash_attention_2")
"""The attention implementations that work with masks of padded rows."""


@dataclass(frozen=True)
class Placement:
    """Where weights go, and as what.

    Attributes:
        device: The device; with a `device_map` the one where computing starts.
        dtype: The weights' type; None for as stored, but no float16 on a CPU.
        device_map: As accelerate's; None for everything on `device`.
        eight_bit: Whether bitsandbytes quantises the linear layers to 8 bits.
        four_bit: Whether it quantises them to 4 bits.
        attention: transformers' attention implementation; None for its own choice.
    """

    device: torch.device
    dtype: torch.dtype | None = None
    device_map: str | dict[str, Any] | None = None
    eight_bit: bool = False
    four_bit: bool = False
    attention: str | None = None

    @property
    def spread(self) -> bool:
        """Whether transformers has to place the weights: on several devices, or quantised."""
        return self.device_map is not None or self.eight_bit or self.four_bit

    @property
    def quantisation(self) -> str | None:
        """``8bit`` or ``4bit``; None for weights as they are."""
        return "8bit" if self.eight_bit else "4bit" if self.four_bit else None

    def weights_type(self, stored: torch.dtype) -> torch.dtype:
        """The type in memory of weights that are stored in another."""
        return self.dtype or memory_dtype(stored, self.device)

    def for_transformers(self, stored: torch.dtype) -> dict[str, Any]:
        """Keyword arguments of ``from_pretrained``."""
        arguments: dict[str, Any] = {"dtype": self.weights_type(stored)}
        if self.attention is not None:
            arguments["attn_implementation"] = self.attention
        if self.spread:
            arguments["device_map"] = self.device_map or {"": str(self.device)}
        if self.eight_bit or self.four_bit:
            arguments["quantization_config"] = self._quantisation(arguments["dtype"])
        return arguments

    def _quantisation(self, dtype: torch.dtype) -> Any:
        from transformers import BitsAndBytesConfig

        if self.eight_bit:
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )


def placement(
    device: str,
    dtype: str | torch.dtype,
    *,
    device_map: str | dict[str, Any] | None = None,
    load_in_8bit: bool = False,
    load_in_4bit: bool = False,
    attn_implementation: str | None = None,
) -> Placement:
    """Check what a user asked for.

    Raises:
        UserError: An unknown device, type or attention implementation.
        UnsupportedError: Quantisation without bitsandbytes, or of both kinds.
    """
    if load_in_8bit and load_in_4bit:
        raise UnsupportedError("Choose one of load_in_8bit and load_in_4bit.")
    if load_in_8bit or load_in_4bit:
        require("quantize", "load_in_8bit" if load_in_8bit else "load_in_4bit")
    if attn_implementation is not None and attn_implementation not in ATTENTION:
        raise UserError(
            f"No attention implementation is called {attn_implementation!r}."
            f"{nearest(attn_implementation, ATTENTION)}"
        )
    return Placement(
        device=_device(device),
        dtype=_dtype(dtype),
        device_map=device_map,
        eight_bit=load_in_8bit,
        four_bit=load_in_4bit,
        attention=attn_implementation,
    )


def memory_dtype(stored: torch.dtype, device: torch.device) -> torch.dtype:
    """The type in which stored weights are kept: as they are, but no float16 on a CPU."""
    slow = stored == torch.float16 and device.type == "cpu"
    return torch.float32 if slow else stored


def _device(name: str) -> torch.device:
    if name == "auto":
        return best_device()
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The device {name!r} cannot be used here: {in_a_line(error)}") from None
    return device


def _dtype(name: str | torch.dtype) -> torch.dtype | None:
    if isinstance(name, torch.dtype) or name == "auto":
        return name if isinstance(name, torch.dtype) else None
    if name not in _DTYPES:
        raise UserError(f"No dtype is called {name!r}.{nearest(name, ['auto', *_DTYPES])}")
    return _DTYPES[name]
