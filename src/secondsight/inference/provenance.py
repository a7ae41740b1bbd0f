"""Where an answer comes from: enough to run it again."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
import transformers

from secondsight.inference.looked import Looked
from secondsight.methods import Method
from secondsight.settings import Settings


def provenance(looked: Looked, method: Method, settings: Settings) -> dict[str, Any]:
    """What was asked, how it was decoded, what was drawn, and by which versions.

    Args:
        looked: The sample as the method looked at it.
        method: The method.
        settings: The generation settings.
    """
    views = [
        {"view": name, **({"drawn": drawn} if drawn else {})}
        for name, drawn in zip(looked.names, looked.drawn, strict=True)
    ]
    reply = {"reply": looked.reply} if looked.reply is not None else {}
    generation = asdict(settings)
    seed = generation.pop("seed")
    return {
        "image": looked.sample.digest,
        "question": looked.sample.question,
        "history": [
            {"question": turn.question, "answer": turn.answer} for turn in looked.sample.history
        ],
        "sample_id": looked.sample.id,
        "method": {"name": method.name, "spec": method.spec, **method.parameters, **reply},
        "views": views,
        "seed": seed,
        "settings": {**generation, "stop": list(settings.stop)},
        "versions": {
            "secondsight": version("secondsight"),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
