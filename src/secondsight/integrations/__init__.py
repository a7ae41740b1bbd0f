"""Where other programs find secondsight: what they look up by entry point."""

from __future__ import annotations

from typing import Any


def lmms_eval_manifest() -> Any:
    """The entry point of the group ``lmms_eval.models``: ``lmms-eval --model secondsight``.

    Returns:
        A ``ModelManifest`` that names the class; it is imported when the model is asked for.
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("secondsight", chat_class_path=f"{__name__}.lmms_eval.SecondSight")
