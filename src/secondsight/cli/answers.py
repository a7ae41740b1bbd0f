"""What a list run's lines are in its file of answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from secondsight.answers_file import AnswerLines, AnswersFile


class Key(NamedTuple):
    """What a line of a list asks: the same key means the same answer."""

    image: str | tuple[str, ...] | None
    question: str
    id: str | int | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Key:
        """What a line of the answers file was asked."""
        image = record["image"]
        name = tuple(image) if isinstance(image, list) else image
        return cls(name, record["question"], record["id"])


def settings_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer depends on besides image and question, by name."""
    method = provenance["method"]
    own = {
        title: method[name]
        for name, title in (
            ("code_sha256", "the method's code"),
            ("calibrations_sha256", "the calibrations"),
        )
        if name in method
    }
    return {
        "model": provenance["model"],
        "revision": provenance["revision"],
        "weights": provenance["weights"],
        "dtype": provenance["dtype"],
        "preset": provenance["preset"],
        "method": method["spec"],
        **own,
        "seed": provenance["seed"],
        **provenance["settings"],
    }


def list_answers(path: Path) -> AnswersFile[Key]:
    """Open the file that a list run writes.

    Raises:
        UserError: It cannot be written, holds something else, or another process has it.
    """
    lines = AnswerLines(
        of="a list run",
        beginning=b'{"image": ',
        key=Key.of,
        identity=lambda record: settings_of(record["provenance"]),
    )
    return AnswersFile(path, lines)
