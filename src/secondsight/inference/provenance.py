"""Where an answer comes from: enough to run it again."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch
import transformers

from secondsight.inference.prepare import PreparedRequest


def provenance(asked: PreparedRequest) -> dict[str, Any]:
    """What was asked, how it was decoded, what was chosen, and by which versions.

    Args:
        asked: The request and what was made of it.
    """
    method, settings, sample = asked.method, asked.request.settings, asked.sample
    views = [
        {"view": name, **({"choice": choice} if choice else {})}
        for name, choice in zip(asked.names, asked.choices, strict=True)
    ]
    reply = {"reply": sample.reply} if sample.reply is not None else {}
    generation = settings.recorded()
    seed = generation.pop("seed")
    return {
        "image": sample.digest,
        "question": sample.question,
        "history": [{"question": turn.question, "answer": turn.answer} for turn in sample.history],
        "sample_id": sample.id,
        "method": {"name": method.name, "spec": method.spec, **method.parameters, **reply},
        "views": views,
        "seed": seed,
        "settings": generation,
        "versions": {
            "secondsight": version("secondsight"),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
