"""secondsight: decoding methods that make vision-language models hallucinate less.

Public are the names in `__all__` and the class of every method: `secondsight.VCD`,
`secondsight.Ritual`, and so on; `dir(secondsight)` lists them all.
"""

# Nothing is imported here, not even typing, so that the command line handles Ctrl-C from the start.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from secondsight import methods, presets
    from secondsight.answer import Answer, Doubt, Repair, TokenEvidence, TokenUpdate
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
    from secondsight.methods import Method, register
    from secondsight.prompts import Turn, tokenize_with_images
    from secondsight.request import Request
    from secondsight.sample import Sample
    from secondsight.settings import Settings

    __version__: str

__all__ = [
    "Answer",
    "CheckpointError",
    "Doubt",
    "ImageError",
    "Method",
    "MethodError",
    "Model",
    "QuestionError",
    "Repair",
    "Request",
    "Sample",
    "Settings",
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
    "answer": ("Answer", "Doubt", "Repair", "TokenEvidence", "TokenUpdate"),
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
    "methods": ("Method", "register"),
    "inference": ("Model", "Stream", "Ticket"),
    "prompts": ("Turn", "tokenize_with_images"),
    "request": ("Request",),
    "sample": ("Sample",),
    "settings": ("Settings",),
}

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> "Any":
    """Import a public name when it is first asked for: ``secondsight --help`` needs no torch."""
    from importlib import import_module

    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("secondsight")
    elif name in _SUBMODULES:
        value = import_module(f"secondsight.{name}")
    elif name in _HOME_OF:
        value = getattr(import_module(f"secondsight.{_HOME_OF[name]}"), name)
    elif name[:1].isupper() and name in _method_classes():
        value = getattr(import_module("secondsight.methods"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_method_classes()})


def _method_classes() -> list[str]:
    from secondsight.registry import shipped

    return [one.attribute for one in shipped("secondsight.methods")]
