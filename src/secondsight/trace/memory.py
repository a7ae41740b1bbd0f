"""Memory of the process and of the GPU, as the system counts it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

import psutil
import torch

PATIENCE: Final = 10.0
"""How long nvidia-smi is waited for, in seconds."""


def memory(device: torch.device) -> Mapping[str, Any]:
    """Memory as the system counts it."""
    used = psutil.Process().memory_info()
    found: dict[str, Any] = {"process_bytes": used.rss, "process_peak_bytes": _peak(used)}
    if device.type == "cuda":
        found["gpu_allocated_bytes"] = torch.cuda.memory_allocated(device)
        found["gpu_peak_bytes"] = torch.cuda.max_memory_allocated(device)
        found["nvidia_smi"] = _nvidia_smi()
    return found


def _peak(used: Any) -> int:
    """The most memory that the process had."""
    try:
        import resource
    except ImportError:  # Windows, which tells psutil
        return int(getattr(used, "peak_wset", used.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def _nvidia_smi() -> str | None:
    try:
        run = subprocess.run(
            ["nvidia-smi"], capture_output=True, text=True, timeout=PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()
