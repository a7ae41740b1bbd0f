"""What was measured, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One method by one scheme on one workload; figures are medians over the repeats.

    Attributes:
        workload: ``caption``, ``yes/no`` or ``check``.
        method: The method, as text.
        scheme: ``regular``; ``engine``, which is regular decoding by our engine; ``naive``,
            ``joint``, ``lazy``, ``auto`` or ``auto, shared views``.
        seconds: Of one caption, or of all questions on one image, from the opened image to the
            last token.
        spread: The fastest and the slowest repeat.
        ratio: Seconds over regular's, paired within each repeat.
        per_token: Seconds per token after the first, of captions; per question, where questions
            are timed alone.
        token_ratio: The same over regular's; captions only.
        floor_ratio: Seconds over the least that the method can cost: regular, plus reading the
            other views' prompts once, all measured in the same repeat; captions only.
        first_token: Seconds until the first token; captions only.
        per_second: Tokens (captions) or questions per second.
        forwards: Forward passes of the language model.
        peak_bytes: Memory above what the model takes.
        single: Share of steps in which a single token was plausible.
        times: When each token was there, in seconds; captions only.
    """

    workload: str
    method: str
    scheme: str
    seconds: float
    spread: tuple[float, float]
    ratio: float
    per_token: float | None
    token_ratio: float | None
    floor_ratio: float | None
    first_token: float | None
    per_second: float
    forwards: int
    peak_bytes: int
    single: float | None
    times: tuple[float, ...] = ()


@dataclass(frozen=True)
class Floor:
    """The least that a method can cost on a caption; figures are medians over the repeats.

    Attributes:
        method: The method, as text.
        regular: Seconds of regular decoding.
        views: Seconds of reading each of the other views' prompts once, images included.
    """

    method: str
    regular: float
    views: tuple[float, ...]


@dataclass(frozen=True)
class Result:
    """A benchmark's outcome.

    Attributes:
        model: The model's name.
        parameters: How many parameters it has.
        weight_bytes: What they take.
        dtype: Their type.
        device: Where the model was.
        threads: CPU threads that torch used.
        tokens: Tokens per caption.
        questions: Questions per image.
        repeats: How often each scheme was timed.
        measurements: One per workload, method and scheme.
        floors: One per method, if captions were timed.
    """

    model: str
    parameters: int
    weight_bytes: int
    dtype: str
    device: str
    threads: int
    tokens: int
    questions: int
    repeats: int
    measurements: tuple[Measurement, ...]
    floors: tuple[Floor, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, ready for JSON."""
        return asdict(self)
