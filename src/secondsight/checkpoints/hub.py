"""Finding a checkpoint's folder: on disk, in the local cache, or on the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from secondsight.checkpoints.damage import in_a_line
from secondsight.checkpoints.json_files import read_json
from secondsight.checkpoints.weights import weight_files
from secondsight.errors import CheckpointError

_FILES: Final = ["*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja"]
_CODE: Final = ["*.py"]
_DUPLICATES: Final = ["original/*", "consolidated*", "*.gguf", "*.onnx", "onnx/*", "openvino/*"]
"""Weights in other formats, which some repositories hold beside the ones that are read."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a checkpoint is.

    Attributes:
        folder: Its folder.
        name: How it was asked for.
        revision: The commit, if it came from the hub.
    """

    folder: Path
    name: str
    revision: str | None = None

    @property
    def fetch(self) -> str:
        """The command that fetches what is missing, or a question where there is none."""
        if self.revision is None:
            return "Is the download complete?"
        return f"Fetch it with 'hf download {self.name} --revision {self.revision}'."


def find(
    model: str | Path,
    revision: str | None = None,
    *,
    local_files_only: bool = False,
    code: bool = False,
) -> Checkpoint:
    """Find a checkpoint, fetching it if need be.

    The hub's own settings hold: ``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_TOKEN`` or ``hf auth login``.

    Args:
        model: A folder or a hub id.
        revision: A branch, tag or commit on the hub.
        local_files_only: Whether only the local cache is looked at.
        code: Whether Python files are fetched too.

    Raises:
        CheckpointError: There is none, or it cannot be fetched.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return Checkpoint(path, str(model))
    if path.is_file():
        _refuse_file(path)
    name = str(model)
    if isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise CheckpointError(
            f"There is no folder {name!r}, and it is not a hub id such as "
            "'llava-hf/llava-1.5-7b-hf'. Check the path."
        )
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=_FILES + (_CODE if code else []),
            ignore_patterns=_DUPLICATES,
            local_files_only=local_files_only,
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise CheckpointError(
            f"The hub shows no model {name!r}: check the name, and if it is private or gated, "
            "accept its terms there and log in with 'hf auth login'."
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"The model {name!r} has no revision {revision!r}.") from error
    except HFValidationError as error:
        raise CheckpointError(f"{name!r} is neither a folder nor a hub id.") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(_unreachable(name, revision, local_files_only)) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise CheckpointError(
            f"{name!r} cannot be fetched: the hub answered {status}. Try again, or log in with "
            "'hf auth login'."
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{name!r} cannot be fetched into the cache {constants.HF_HUB_CACHE}: "
            f"{in_a_line(error)}"
        ) from error
    return Checkpoint(Path(folder), name, Path(folder).name)


def _refuse_file(path: Path) -> None:
    kind = {".gguf": "GGUF", ".onnx": "ONNX"}.get(path.suffix.lower())
    if kind:
        raise CheckpointError(
            f"{str(path)!r} is in the format {kind}, which transformers does not decode with "
            "views. Name the folder or the hub id of the model that it was made from."
        )
    raise CheckpointError(
        f"{str(path)!r} is a file. Name the checkpoint's folder or its id on the hub."
    )


def _unreachable(name: str, revision: str | None, local_files_only: bool) -> str:
    asked = f" --revision {revision}" if revision else ""
    if local_files_only:
        why = "local_files_only forbids fetching it"
    elif constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE forbids fetching it"
    else:
        why = "the hub cannot be reached"
    at = f"revision {revision!r} of " if revision else ""
    return (
        f"{name!r} is not a folder, {at}it is not in the cache {constants.HF_HUB_CACHE}, and "
        f"{why}: config.json, the files of the tokenizer and the weights are all missing. Where "
        f"there is a network, fetch them with 'hf download {name}{asked}'."
    )


def read_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint's config.json.

    Raises:
        CheckpointError: It is missing or damaged; a folder of GGUF or ONNX files.
    """
    path = checkpoint.folder / "config.json"
    if not path.exists():
        raise CheckpointError(_no_config(checkpoint))
    return read_json(path)


def _no_config(checkpoint: Checkpoint) -> str:
    folder = checkpoint.folder
    for suffix, kind in (("gguf", "GGUF"), ("onnx", "ONNX")):
        if any(folder.rglob(f"*.{suffix}")):
            return (
                f"{str(folder)!r} holds {kind} files, which transformers does not decode with "
                "views. Name the folder or the hub id of the model that they were made from."
            )
    if checkpoint.revision is not None:
        return f"{checkpoint.name!r} has no config.json in the cache. {checkpoint.fetch}"
    return f"{str(folder)!r} has no config.json: it is not a checkpoint's folder."


def present_weights(checkpoint: Checkpoint) -> list[Path]:
    """A checkpoint's weight files, each of which is there.

    Raises:
        CheckpointError: There are none, or some that an index promises are missing.
    """
    files = weight_files(checkpoint.folder)
    if not files:
        raise CheckpointError(_no_weights(checkpoint))
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise CheckpointError(
            f"{checkpoint.name!r} lacks {len(missing)} of {len(files)} weight files: {shown}. "
            f"{checkpoint.fetch}"
        )
    return files


def _no_weights(checkpoint: Checkpoint) -> str:
    folder = checkpoint.folder
    for suffix, kind in (("gguf", "GGUF"), ("onnx", "ONNX")):
        if any(folder.rglob(f"*.{suffix}")):
            return (
                f"{checkpoint.name!r} holds {kind} weights only, which transformers does not "
                "decode with views. Name the model that they were made from."
            )
    return (
        f"{checkpoint.name!r} has a config.json but no weights (*.safetensors or "
        f"pytorch_model*.bin). {checkpoint.fetch}"
    )
