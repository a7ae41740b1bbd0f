"""secondsight: decoding methods that make vision-language models hallucinate less."""

from importlib.metadata import version

from secondsight import methods, presets
from secondsight.answer import Answer, TokenEvidence
from secondsight.decoding import decode
from secondsight.errors import (
    CheckpointError,
    ImageError,
    MethodError,
    QuestionError,
    UnsupportedError,
    UserError,
)
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
from secondsight.models import Model, Stream, load
from secondsight.prompts import Turn, tokenize_with_images
from secondsight.sample import Sample

__version__ = version("secondsight")

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
    "Ritual",
    "RitualM3ID",
    "RitualPlus",
    "RitualVCD",
    "Sample",
    "Sharpened",
    "Stream",
    "TokenEvidence",
    "Turn",
    "UnsupportedError",
    "UserError",
    "__version__",
    "decode",
    "load",
    "methods",
    "presets",
    "register",
    "tokenize_with_images",
]
