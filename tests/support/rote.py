"""An answerer for bulk runs that needs no model: what it says is a hash of what it was given."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secondsight.bulk.rows import Row


@dataclass(frozen=True)
class Rote:
    """Starts answering by rote; images may hold orders.

    Attributes:
        name: What it says it answers with.
        pause: Seconds per row.
        devices: What the workers say that they compute on, by their numbers.
        asked: What it says is asked for.
    """

    name: str = "rote"
    pause: float = 0.0
    devices: tuple[str, ...] = ("a slide rule",)
    asked: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> RoteAnswering:
        return RoteAnswering(self)


class RoteAnswering:
    """See `Rote`."""

    def __init__(self, plan: Rote) -> None:
        self.plan = plan
        number = int(os.environ.get("SECONDSIGHT_WORKER", "0"))
        self.device = plan.devices[number % len(plan.devices)]
        self.identity: Mapping[str, Any] = {"model": plan.name}

    def __call__(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [self._answered(row) for row in rows]

    def _answered(self, row: Row) -> dict[str, Any]:
        time.sleep(self.plan.pause)
        asked = {"id": row.id, "image": row.image, "question": row.question}
        data = Path(row.image).read_bytes() if row.image else b""
        if data.startswith(b"crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        if data.startswith(b"eat"):
            eaten = [b"x" * 10_000_000 for _ in range(150)]
            return {**asked, "error": f"nobody minded {len(eaten)} x 10 MB"}
        if data.startswith(b"break"):
            raise RuntimeError("the decoder broke")
        if data.startswith(b"bad"):
            return {**asked, "error": "no image"}
        said = hashlib.sha256(row.question.encode() + data).hexdigest()[:12]
        return {**asked, "text": said, "finish_reason": "eos"}
