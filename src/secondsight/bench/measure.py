"""Captions and yes/no questions by every scheme, in turn, several times over."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from secondsight.bench import schemes
from secondsight.bench.meter import Clock, Reading, counted, peak_memory, read
from secondsight.decoding import SCHEDULES, Step, decode
from secondsight.decoding.sampling import generator
from secondsight.methods import Method, create
from secondsight.models.model import Model
from secondsight.sample import Sample

CAPTION: Final = "Please describe this image in detail."
OBJECTS: Final = ("dog", "car", "person", "cup", "bicycle", "cat", "chair", "bird", "apple", "bus")


@dataclass(frozen=True)
class Measurement:
    """One method by one scheme on one workload; figures are medians over the repeats.

    Attributes:
        workload: ``caption`` or ``yes/no``.
        method: The method, as text.
        scheme: ``regular``, ``naive``, ``joint``, ``lazy``, ``auto`` or ``auto, shared views``.
        seconds: Of one caption, or of all questions on one picture.
        spread: The fastest and the slowest repeat.
        ratio: Seconds over regular's, paired within each repeat.
        token_ratio: Seconds per token after the first, over regular's; captions only.
        floor_ratio: Seconds over the least that the method can cost: regular, plus reading the
            other views' prompts once, both measured in the same repeat; captions only.
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
    token_ratio: float | None
    floor_ratio: float | None
    first_token: float | None
    per_second: float
    forwards: int
    peak_bytes: int
    single: float | None
    times: tuple[float, ...] = ()


@dataclass(frozen=True)
class Result:
    """A benchmark's outcome.

    Attributes:
        model: The model's name.
        parameters: How many parameters it has.
        weight_bytes: What they take.
        dtype: Their type.
        threads: CPU threads that torch used.
        tokens: Tokens per caption.
        questions: Questions per picture.
        repeats: How often each scheme was timed.
        measurements: One per workload, method and scheme.
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

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, ready for JSON."""
        return asdict(self)


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
    progress: Callable[[str], None] = lambda _: None,
) -> Result:
    """Time every method by every scheme.

    Args:
        model: The model.
        methods: The methods.
        tokens: Tokens per caption; the end of an answer is ignored, so all have as many.
        questions: Yes/no questions per picture.
        answer_tokens: Tokens per yes/no answer.
        repeats: How often each scheme is timed; all schemes take turns within a repeat.
        warmup: Repeats that do not count.
        workloads: ``caption``, ``yes/no`` or both.
        progress: Told what is being done.
    """
    created = [create(method) for method in methods]
    picture = photograph()
    found: list[Measurement] = []
    with _endless(model):
        if "caption" in workloads:
            found += _captions(model, created, picture, tokens, repeats, warmup, progress)
        if "yes/no" in workloads:
            asked = [f"Is there a {name} in the image?" for name in OBJECTS[:questions]]
            samples = [Sample(picture, question) for question in asked]
            found += _questions(model, created, samples, answer_tokens, repeats, warmup, progress)
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
    )


def photograph() -> Image.Image:
    """A picture of a photograph's size, 500 x 334, of smooth random colours."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 18, 3), dtype=np.uint8))
    return coarse.resize((500, 334), Image.Resampling.BICUBIC)


@contextmanager
def _endless(model: Model) -> Iterator[None]:
    """Let answers go on to the length limit, so that all schemes write as much."""
    config = model.hf_model.generation_config
    end, config.eos_token_id = config.eos_token_id, None
    try:
        yield
    finally:
        config.eos_token_id = end


def _captions(
    model: Model,
    methods: Sequence[Method],
    picture: Image.Image,
    tokens: int,
    repeats: int,
    warmup: int,
    progress: Callable[[str], None],
) -> list[Measurement]:
    views = {method.spec: _views(model, method, picture) for method in methods}
    original = next(iter(views.values()))[0]
    prompt = original["input_ids"].shape[1]
    tasks: dict[tuple[str, str], Callable[[Clock], torch.Tensor]] = {
        ("regular", "regular"): partial(schemes.regular, model, [original], tokens)
    }
    for method in methods:
        seen = views[method.spec]
        for number, view in enumerate(seen[1:], start=1):
            # What reading one more view costs at the very least, for the floor.
            tasks[method.spec, f"view {number}"] = partial(schemes.regular, model, [view], 1)
        tasks[method.spec, "naive"] = partial(_naive, model, seen, tokens, method)
        for schedule in SCHEDULES:
            tasks[method.spec, schedule] = partial(_ours, model, seen, tokens, method, schedule)
    readings = _take_turns(model, tasks, prompt, repeats, warmup, progress, "caption")
    regular = readings["regular", "regular"]
    return [
        _caption_row(key, found, regular, readings, _single(model, views, key, tokens))
        for key, found in readings.items()
        if not key[1].startswith("view")
    ]


def _naive(
    model: Model, views: Sequence[dict[str, Any]], tokens: int, method: Method, clock: Clock
) -> torch.Tensor:
    return schemes.naive(model, views, tokens, clock, method)


def _ours(
    model: Model,
    views: Sequence[dict[str, Any]],
    tokens: int,
    method: Method,
    schedule: str,
    clock: Clock,
) -> torch.Tensor:
    return schemes.ours(model, views, tokens, clock, method, schedule)


def _views(model: Model, method: Method, picture: Image.Image) -> list[dict[str, Any]]:
    sample = Sample(picture, CAPTION).opened()
    draws = generator(0)
    seen = [view.apply(sample, draws) for view in method.views(sample)]
    return [model.encode_sample(one) for one in seen]


def _take_turns(
    model: Model,
    tasks: dict[tuple[str, str], Callable[[Clock], torch.Tensor]],
    prompt: int,
    repeats: int,
    warmup: int,
    progress: Callable[[str], None],
    what: str,
) -> dict[tuple[str, str], list[Reading]]:
    readings: dict[tuple[str, str], list[Reading]] = {key: [] for key in tasks}
    for repeat in range(-warmup, repeats):
        for key, task in tasks.items():
            stage = "warm-up" if repeat < 0 else f"{repeat + 1} of {repeats}"
            progress(f"{what}, {stage}: {key[0]}, {key[1]}")
            reading = read(model.hf_model, task, prompt)
            if repeat >= 0:
                readings[key].append(reading)
    return readings


def _caption_row(
    key: tuple[str, str],
    found: list[Reading],
    regular: list[Reading],
    readings: dict[tuple[str, str], list[Reading]],
    single: float | None,
) -> Measurement:
    method, scheme = key
    extra = [
        [reading.seconds for reading in other]
        for (name, part), other in readings.items()
        if name == method and part.startswith("view")
    ]
    floors = [
        base.seconds + sum(view[repeat] for view in extra) for repeat, base in enumerate(regular)
    ]
    seconds = [reading.seconds for reading in found]
    middle = sorted(found, key=lambda reading: reading.seconds)[len(found) // 2]
    return Measurement(
        workload="caption",
        method=method,
        scheme=scheme,
        seconds=statistics.median(seconds),
        spread=(min(seconds), max(seconds)),
        ratio=_ratio(seconds, [base.seconds for base in regular]),
        token_ratio=_ratio(
            [reading.per_token for reading in found], [base.per_token for base in regular]
        ),
        floor_ratio=_ratio(seconds, floors),
        first_token=statistics.median(reading.first_token for reading in found),
        per_second=len(middle.times) / statistics.median(seconds),
        forwards=middle.forwards,
        peak_bytes=max(reading.peak_bytes for reading in found),
        single=single,
        times=tuple(middle.times),
    )


def _ratio(ours: Sequence[float], base: Sequence[float]) -> float:
    """Median of the ratios within each repeat, which a drift of the machine does not touch."""
    return statistics.median(a / b for a, b in zip(ours, base, strict=True))


def _single(
    model: Model,
    views: dict[str, list[dict[str, Any]]],
    key: tuple[str, str],
    tokens: int,
) -> float | None:
    """Share of the steps in which a single token is plausible, from an untimed run."""
    name, scheme = key
    if scheme != "joint":
        return None
    counts: list[int] = []

    def watch(step: Step) -> None:
        if step.plausible is not None:
            counts.extend(step.plausible.sum(dim=-1).tolist())

    original, *others = views[name]
    model.hf_model.generate(
        **original,
        custom_generate=decode,
        method=name,
        views=others,
        observer=watch,
        max_new_tokens=tokens,
        do_sample=False,
    )
    return sum(count == 1 for count in counts) / len(counts) if counts else None


def _questions(
    model: Model,
    methods: Sequence[Method],
    samples: Sequence[Sample],
    tokens: int,
    repeats: int,
    warmup: int,
    progress: Callable[[str], None],
) -> list[Measurement]:
    tasks: dict[tuple[str, str], Callable[[], object]] = {
        ("regular", "regular"): partial(_one_by_one, model, create("regular"), samples, tokens)
    }
    for method in methods:
        tasks[method.spec, "naive"] = partial(_one_by_one, model, method, samples, tokens)
        for scheme, share in (("auto", False), ("auto, shared views", True)):
            tasks[method.spec, scheme] = partial(
                model.answer_batch,
                samples,
                method,
                max_new_tokens=tokens,
                batch_size=len(samples),
                share_views=share,
            )
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in tasks}
    costs: dict[tuple[str, str], tuple[int, int]] = {}
    for repeat in range(-warmup, repeats):
        for key, task in tasks.items():
            stage = "warm-up" if repeat < 0 else f"{repeat + 1} of {repeats}"
            progress(f"yes/no, {stage}: {key[0]}, {key[1]}")
            model.prefixes.clear()
            with counted(model.hf_model) as count, peak_memory(model.hf_model.device) as peak:
                start = time.perf_counter()
                task()
                took = time.perf_counter() - start
            if repeat >= 0:
                seconds[key].append(took)
                costs[key] = (count[0], max(peak[0], costs.get(key, (0, 0))[1]))
    single = _single_first(model, samples)
    base = seconds["regular", "regular"]
    return [
        Measurement(
            workload="yes/no",
            method=key[0],
            scheme=key[1],
            seconds=statistics.median(taken),
            spread=(min(taken), max(taken)),
            ratio=_ratio(taken, base),
            token_ratio=None,
            floor_ratio=None,
            first_token=None,
            per_second=len(samples) / statistics.median(taken),
            forwards=costs[key][0],
            peak_bytes=costs[key][1],
            single=single,
        )
        for key, taken in seconds.items()
    ]


def _one_by_one(
    model: Model, method: Method, samples: Sequence[Sample], tokens: int
) -> list[torch.Tensor]:
    """Every question on its own: regular by ``generate``, others by the naive two passes."""
    answers = []
    for sample in samples:
        opened = sample.opened()
        draws = generator(0)
        views = [model.encode_sample(view.apply(opened, draws)) for view in method.views(opened)]
        clock = Clock()
        if len(views) == 1:
            answers.append(schemes.regular(model, views, tokens, clock))
        else:
            answers.append(schemes.naive(model, views, tokens, clock, method))
    return answers


def _single_first(model: Model, samples: Sequence[Sample]) -> float:
    """Share of the questions whose first token is alone plausible."""
    answers = model.answer_batch(samples, "apc", max_new_tokens=1, evidence=True)
    counts = [answer.evidence[0].plausible for answer in answers if answer.evidence]
    return sum(count == 1 for count in counts) / max(len(counts), 1)
