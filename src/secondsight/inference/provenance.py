"""Where an answer comes from: enough to run it again."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch
import transformers

from secondsight.checking.calibration import Calibrations
from secondsight.code_identity import code_hash
from secondsight.inference.prepare import PreparedRequest
from secondsight.methods import Method


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
        "image": asked.digest,
        "question": sample.question,
        "history": [{"question": turn.question, "answer": turn.answer} for turn in sample.history],
        "sample_id": sample.id,
        "method": {"name": method.name, "spec": method.spec, **method.parameters, **reply},
        "views": views,
        **_where_given(asked),
        "seed": seed,
        "settings": generation,
        "versions": {
            "secondsight": version("secondsight"),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def identity_of(method: Method, calibrations: Calibrations) -> dict[str, str]:
    """What a method's answers depend on that neither its text nor the model's weights say.

    Args:
        method: The method.
        calibrations: The model's; they count where answers are checked.

    Returns:
        ``code_sha256`` of a method that does not come with secondsight, ``calibrations_sha256`` of
        one that checks.
    """
    found = {}
    code = code_hash(type(method))
    if code is not None:
        found["code_sha256"] = code
    if method.checks() is not None:
        found["calibrations_sha256"] = calibrations.digest
    return found


def _where_given(asked: PreparedRequest) -> dict[str, Any]:
    """What most requests leave as it is, and what the answer depends on where they do not."""
    sample = asked.sample
    return {
        **({"system": sample.system} if sample.system is not None else {}),
        **({"image_turns": list(sample.places)} if sample.places else {}),
        **({"share_views": True} if asked.request.share_views else {}),
    }
