"""Which accelerator there is, what is free on a device, and giving back what torch keeps of it."""

from __future__ import annotations

import psutil
import torch


def best_device() -> torch.device:
    """The device that ``auto`` means: CUDA, else Apple's GPU (MPS), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def free_bytes(device: torch.device) -> int:
    """What can still be put on a device, in bytes; Apple's GPU has a share of the main memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    available = int(psutil.virtual_memory().available)
    if device.type == "mps":
        most = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return max(0, min(available, int(most)))
    return available


def empty_caches() -> None:
    """Give back what torch keeps for tensors to come."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
