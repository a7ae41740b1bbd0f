"""Whole tensors, for those who ask: collected by name and written as safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from secondsight.files import replacing


class Keeper:
    """Collects tensors on the CPU, if it is asked to.

    Args:
        wanted: Whether tensors are kept at all.
    """

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self.tensors: dict[str, torch.Tensor] = {}

    def keep(self, name: str, tensor: torch.Tensor) -> None:
        """Keep a copy of a tensor under a name."""
        if self.wanted:
            self.tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()

    def append(self, name: str, tensor: torch.Tensor) -> None:
        """Add one step's tensor to those of the steps before, along a new first dimension."""
        if self.wanted:
            new = tensor.detach().to("cpu")[None]
            old = self.tensors.get(name)
            self.tensors[name] = new.clone() if old is None else torch.cat([old, new])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of what was kept, by name."""
        return {name: tuple(tensor.shape) for name, tensor in sorted(self.tensors.items())}

    def write(self, path: Path) -> None:
        """Write everything that was kept.

        Raises:
            UserError: The file cannot be written.
        """
        with replacing(path) as temporary:
            save_file(self.tensors, temporary)
