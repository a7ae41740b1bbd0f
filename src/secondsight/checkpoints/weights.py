"""Which files hold a checkpoint's weights, and what tensors they say they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from safetensors import SafetensorError, safe_open

from secondsight.checkpoints.json_files import read_json
from secondsight.errors import CheckpointError

WEIGHTS: Final = (("model", "safetensors"), ("pytorch_model", "bin"))
"""How weight files are called, the preferred first."""


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder, in order; empty where it has none.

    As in transformers one whole file comes before an index of several, and safetensors before
    pickles. Files that an index names need not be there.

    Raises:
        CheckpointError: An index is damaged, or names files outside the folder.
    """
    for stem, suffix in WEIGHTS:
        single = folder / f"{stem}.{suffix}"
        if single.is_file():
            return [single]
        index = folder / f"{stem}.{suffix}.index.json"
        if index.is_file():
            return [folder / name for name in _indexed(index)]
    return []


def _indexed(index: Path) -> list[str]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{str(index)!r} has no weight_map from tensors to files.")
    for tensor, name in places.items():
        if not isinstance(name, str) or not _is_plain(name):
            raise CheckpointError(
                f"{str(index)!r} says that the tensor {tensor!r} is in {name!r}, which is not the "
                "name of a file beside it."
            )
    return list(dict.fromkeys(places.values()))


def _is_plain(name: str) -> bool:
    """Whether a name leads neither out of a folder nor further down, on any system."""
    return name not in ("", ".", "..") and all(
        kind(name).name == name for kind in (PurePosixPath, PureWindowsPath)
    )


def listed(file: Path) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """The tensors that a safetensors file holds: name, type as the format has it, and shape.

    Raises:
        CheckpointError: The file is missing, cut off or damaged.
    """
    if not file.is_file():
        raise CheckpointError(f"{str(file)!r} is missing. Is the download complete?")
    try:
        with safe_open(file, framework="pt") as content:
            for name in content.keys():  # noqa: SIM118
                tensor = content.get_slice(name)
                yield name, tensor.get_dtype(), tuple(tensor.get_shape())
    except (SafetensorError, OSError) as error:
        why = str(error).removeprefix("Error while deserializing header: ")
        raise CheckpointError(
            f"{str(file)!r} is cut off or damaged: of its {file.stat().st_size:,} bytes the format "
            f"says '{why}'. Is the download complete?"
        ) from error
