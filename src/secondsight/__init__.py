"""secondsight: decoding methods that make vision-language models hallucinate less."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secondsight import methods, presets
    from secondsight.answer import Answer, TokenEvidence, TokenUpdate
    from secondsight.checkpoints import load
    from secondsight.decoding import decode
    from secondsight.errors import (
        CheckpointError,
        ImageError,
        MethodError,
        QuestionError,
        UnsupportedError,
        UserError,
    )
    from secondsight.images import demo_image, demo_picture
    from secondsight.inference import Model, Stream, Ticket
    from secondsight.methods import (
        M3ID,
        VCD,
        Greedy,
        Identity,
        Method,
        Plausibility,
        Regular,
        Ritual,
        RitualM3ID,
        RitualPlus,
        RitualVCD,
        Sharpened,
        register,
    )
    from secondsight.prompts import Turn, tokenize_with_images
    from secondsight.request import Request
    from secondsight.sample import Sample
    from secondsight.settings import Settings

    __version__: str

__all__ = [
    "M3ID",
    "VCD",
    "Answer",
    "CheckpointError",
    "Greedy",
    "Identity",
    "ImageError",
    "Method",
    "MethodError",
    "Model",
    "Plausibility",
    "QuestionError",
    "Regular",
    "Request",
    "Ritual",
    "RitualM3ID",
    "RitualPlus",
    "RitualVCD",
    "Sample",
    "Settings",
    "Sharpened",
    "Stream",
    "Ticket",
    "TokenEvidence",
    "TokenUpdate",
    "Turn",
    "UnsupportedError",
    "UserError",
    "__version__",
    "decode",
    "demo_image",
    "demo_picture",
    "load",
    "methods",
    "presets",
    "register",
    "tokenize_with_images",
]

_SUBMODULES = ("methods", "presets")

_HOMES = {
    "answer": ("Answer", "TokenEvidence", "TokenUpdate"),
    "checkpoints": ("load",),
    "decoding": ("decode",),
    "errors": (
        "CheckpointError",
        "ImageError",
        "MethodError",
        "QuestionError",
        "UnsupportedError",
        "UserError",
    ),
    "images": ("demo_image", "demo_picture"),
    "methods": (
        "M3ID",
        "VCD",
        "Greedy",
        "Identity",
        "Method",
        "Plausibility",
        "Regular",
        "Ritual",
        "RitualM3ID",
        "RitualPlus",
        "RitualVCD",
        "Sharpened",
        "register",
    ),
    "inference": ("Model", "Stream", "Ticket"),
    "prompts": ("Turn", "tokenize_with_images"),
    "request": ("Request",),
    "sample": ("Sample",),
    "settings": ("Settings",),
}

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: ``secondsight --help`` needs no torch."""
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("secondsight")
    elif name in _SUBMODULES:
        value = import_module(f"secondsight.{name}")
    elif name in _HOME_OF:
        value = getattr(import_module(f"secondsight.{_HOME_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
