"""Where the vision tower of an original LLaVA-1.5 checkpoint is, and whether it is its own.

The original code trains the tower only with ``unfreeze_mm_vision_tower``. It then stores the tower
among the checkpoint's tensors, and uses those; without that flag it uses the stock tower, whatever
is stored.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from secondsight.errors import CheckpointError, Remark


def brings_tower(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's tower was trained, so that its own tensors hold.

    Args:
        config: The original layout's config.json.
    """
    return bool(config.get("unfreeze_mm_vision_tower"))


def warn_of_tower(folder: Path, stored: torch.Tensor | None, used: torch.Tensor) -> None:
    """Say that a checkpoint stores another tower than the one that is used, if it does.

    Args:
        folder: The checkpoint.
        stored: One of its tower's tensors; None if it stores none.
        used: The stock tower's.
    """
    if stored is not None and not torch.equal(used.to(stored.dtype), stored):
        warnings.warn(
            f"{str(folder)!r} stores a vision tower that differs from the one that it names. As in "
            "the original code the named one is used, because config.json does not say "
            "unfreeze_mm_vision_tower: true; set it if the tower was trained.",
            Remark,
            stacklevel=2,
        )


def find_vision_tower(
    folder: Path,
    config: Mapping[str, Any],
    override: str | Path | None,
    *,
    local_files_only: bool = False,
) -> Path:
    """The folder of the CLIP tower: an override, beside the checkpoint, or from the hub.

    Args:
        folder: The checkpoint.
        config: Its config.json, which names the tower.
        override: Where the tower is, whatever the configuration says.
        local_files_only: Whether nothing may be fetched.

    Raises:
        CheckpointError: It is nowhere to be found.
    """
    named = config.get("mm_vision_tower")
    if override is None and (not isinstance(named, str) or not named):
        raise CheckpointError(
            f"The config.json of {str(folder)!r} names no vision tower: mm_vision_tower is "
            f"{named!r}. Say where it is: vision_tower=FOLDER."
        )
    wanted = str(override or named)
    if override is not None and Path(override).is_dir():
        return Path(override)
    short = Path(wanted).name
    beside = (Path(wanted), folder / short, folder.parent / short, folder.parent / wanted)
    for candidate in beside:
        if (candidate / "config.json").is_file():
            return candidate
    try:
        files = [
            "config.json",
            "preprocessor_config.json",
            "*.safetensors",
            "*.bin",
            "*.index.json",
        ]
        fetched = snapshot_download(wanted, allow_patterns=files, local_files_only=local_files_only)
        return Path(fetched)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"The vision tower {wanted!r} of {str(folder)!r} is neither beside the checkpoint nor "
            "to be had from the hub. Put it there, or say where it is: vision_tower=FOLDER. Where "
            f"there is a network, fetch it with 'hf download {wanted}'."
        ) from error
