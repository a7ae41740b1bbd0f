"""Reading the JSON files of checkpoints, whose content nobody vouches for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from secondsight.checkpoints.damage import in_a_line
from secondsight.errors import CheckpointError

LIMIT: Final = 2**26
"""The largest JSON file that is read, in bytes; an index of 100,000 tensors has 10 million."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint that holds named values.

    Raises:
        CheckpointError: It is missing, damaged, too large, no regular file, or holds no names.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "is missing. Is the download complete?"
        raise CheckpointError(f"{str(path)!r} {what}")
    try:
        size = path.stat().st_size
        if size > LIMIT:
            raise CheckpointError(
                f"{str(path)!r} has {size:,} bytes; a checkpoint's JSON files have at most "
                f"{LIMIT:,}."
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except CheckpointError:
        raise
    except (ValueError, OSError) as error:  # no UTF-8, no JSON, or a number of 5000 digits
        raise CheckpointError(f"{str(path)!r} cannot be read: {in_a_line(error)}") from error
    except RecursionError:
        raise CheckpointError(f"{str(path)!r} cannot be read: it is nested too deeply.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} does not hold named values.")
    return content
