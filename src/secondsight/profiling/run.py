"""The benchmark: captions and yes/no questions by every scheme, several times over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from PIL import Image

from secondsight.decoding import SCHEDULES
from secondsight.inference.model import Model
from secondsight.methods import Method, create
from secondsight.profiling import captions
from secondsight.profiling.captions import measure_captions
from secondsight.profiling.checks import measure_checks
from secondsight.profiling.confidence import set_confidence, top_margins
from secondsight.profiling.plan import Plan
from secondsight.profiling.questions import measure_questions
from secondsight.profiling.results import Floor, Measurement, Result
from secondsight.sample import Sample

SCHEMES: Final = ("naive", *SCHEDULES)
WORKLOADS: Final = ("caption", "yes/no", "check")
OBJECTS: Final = ("dog", "car", "person", "cup", "bicycle", "cat", "chair", "bird", "apple", "bus")


def run(
    model: Model,
    methods: Sequence[str | Method] = ("ritual", "vcd", "m3id", "ritual+vcd"),
    *,
    tokens: int = 64,
    questions: int = 6,
    answer_tokens: int = 1,
    repeats: int = 5,
    warmup: int = 1,
    workloads: Sequence[str] = ("caption", "yes/no"),
    schemes: Sequence[str] = SCHEMES,
    image: Image.Image | None = None,
    single: float | None = None,
    single_first: float | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Result:
    """Time every method by every scheme.

    Args:
        model: The model.
        methods: The methods.
        tokens: Tokens per caption; the end of an answer is ignored, so all have as many.
        questions: Yes/no questions per image.
        answer_tokens: Tokens per yes/no answer.
        repeats: How often each scheme is timed; all schemes take turns within a repeat.
        warmup: Repeats that do not count.
        workloads: Some of ``caption``, ``yes/no`` and ``check``.
        schemes: Which of ``naive``, ``joint``, ``lazy`` and ``auto`` to time.
        image: The image; a random one if left out.
        single: Random weights only: the share of a caption's steps in which a single token is to
            be plausible; the logits are scaled for it.
        single_first: Likewise the share of the questions' first tokens.
        progress: Told what is being done.
    """
    created = [create(method) for method in methods]
    image = image or random_image()
    asked = [f"Is there a {name} in the image?" for name in OBJECTS[:questions]]
    samples = [Sample(image, question) for question in asked]
    found: list[Measurement] = []
    floors: list[Floor] = []
    plan = Plan(model, created, schemes, repeats, warmup, progress)
    with _without_end(model):
        if "caption" in workloads:
            if single is not None:
                set_confidence(
                    model, top_margins(model, [Sample(image, captions.QUESTION)], tokens), single
                )
            rows, floors = measure_captions(plan, image, tokens)
            found += rows
        if "yes/no" in workloads:
            if single_first is not None:
                set_confidence(model, top_margins(model, samples, 1), single_first)
            found += measure_questions(plan, samples, answer_tokens)
    if "check" in workloads:
        found += measure_checks(plan, image, OBJECTS[:questions], tokens)
    weights = list(model.hf_model.parameters())
    return Result(
        model=model.name,
        parameters=sum(weight.numel() for weight in weights),
        weight_bytes=sum(weight.nbytes for weight in weights),
        dtype=str(model.hf_model.dtype).removeprefix("torch."),
        device=str(model.hf_model.device),
        threads=torch.get_num_threads(),
        tokens=tokens,
        questions=questions,
        repeats=repeats,
        measurements=tuple(found),
        floors=tuple(floors),
    )


def random_image() -> Image.Image:
    """An image of a random_image's size, 500 x 334, of smooth random colours."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 18, 3), dtype=np.uint8))
    return coarse.resize((500, 334), Image.Resampling.BICUBIC)


@contextmanager
def _without_end(model: Model) -> Iterator[None]:
    """Let answers go on to the length limit, so that all schemes write as much."""
    config = model.hf_model.generation_config
    end, config.eos_token_id = config.eos_token_id, None
    try:
        yield
    finally:
        config.eos_token_id = end
