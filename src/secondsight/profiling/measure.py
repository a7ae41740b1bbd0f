"""Captions and yes/no questions by every scheme, in turn, several times over."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from secondsight.decoding import SCHEDULES, Step, decode
from secondsight.decoding.sampling import generator
from secondsight.inference.model import Model
from secondsight.methods import Method, create
from secondsight.profiling import schemes as ways
from secondsight.profiling.confidence import leads, set_confidence
from secondsight.profiling.meter import Clock, Reading, counted, peak_memory, read
from secondsight.sample import Sample

CAPTION: Final = "Please describe this image in detail."
SCHEMES: Final = ("naive", *SCHEDULES)
Key = tuple[str, str]
"""A method and a scheme."""
REGULAR: Final[Key] = ("regular", "regular")
OBJECTS: Final = ("dog", "car", "person", "cup", "bicycle", "cat", "chair", "bird", "apple", "bus")


@dataclass(frozen=True)
class Measurement:
    """One method by one scheme on one workload; figures are medians over the repeats.

    Attributes:
        workload: ``caption`` or ``yes/no``.
        method: The method, as text.
        scheme: ``regular``; ``loop``, which is regular decoding by our loop; ``naive``, ``joint``,
            ``lazy``, ``auto`` or ``auto, shared views``.
        seconds: Of one caption, or of all questions on one image.
        spread: The fastest and the slowest repeat.
        ratio: Seconds over regular's, paired within each repeat.
        per_token: Seconds per token after the first; captions only.
        token_ratio: The same over regular's; captions only.
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
        workloads: ``caption``, ``yes/no`` or both.
        schemes: Which of ``naive``, ``joint``, ``lazy`` and ``auto`` to time.
        image: The image; a random one if left out.
        single: Random weights only: the share of a caption's steps in which a single token is to
            be plausible; the logits are scaled for it.
        single_first: Likewise the share of the questions' first tokens.
        progress: Told what is being done.
    """
    created = [create(method) for method in methods]
    image = image or photograph()
    asked = [f"Is there a {name} in the image?" for name in OBJECTS[:questions]]
    samples = [Sample(image, question) for question in asked]
    found: list[Measurement] = []
    floors: list[Floor] = []
    plan = _Plan(model, created, schemes, repeats, warmup, progress)
    with _endless(model):
        if "caption" in workloads:
            if single is not None:
                set_confidence(model, leads(model, [Sample(image, CAPTION)], tokens), single)
            rows, floors = _captions(plan, image, tokens)
            found += rows
        if "yes/no" in workloads:
            if single_first is not None:
                set_confidence(model, leads(model, samples, 1), single_first)
            found += _questions(plan, samples, answer_tokens)
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


@dataclass(frozen=True)
class _Plan:
    """What is timed, and how often."""

    model: Model
    methods: Sequence[Method]
    schemes: Sequence[str]
    repeats: int
    warmup: int
    progress: Callable[[str], None]

    def stages(self, workload: str, tasks: Iterable[Key]) -> Iterator[tuple[int, Key]]:
        """Every task in turn, repeat by repeat; those below 0 do not count."""
        for repeat in range(-self.warmup, self.repeats):
            for key in tasks:
                stage = "warm-up" if repeat < 0 else f"{repeat + 1} of {self.repeats}"
                self.progress(f"{workload}, {stage}: {key[0]}, {key[1]}")
                yield repeat, key


def photograph() -> Image.Image:
    """An image of a photograph's size, 500 x 334, of smooth random colours."""
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
    plan: _Plan, image: Image.Image, tokens: int
) -> tuple[list[Measurement], list[Floor]]:
    model = plan.model
    views = {method.spec: _views(model, method, image) for method in plan.methods}
    original = next(iter(views.values()))[0]
    prompt = original["input_ids"].shape[1]
    regular = create("regular")
    tasks: dict[Key, Callable[[Clock], torch.Tensor]] = {
        REGULAR: partial(ways.regular, model, [original], tokens),
        ("regular", "loop"): partial(_ours, model, [original], tokens, regular, "auto"),
    }
    for method in plan.methods:
        seen = views[method.spec]
        for number, view in enumerate(seen[1:], start=1):
            # What reading one more view costs at the very least, for the floor.
            tasks[method.spec, f"view {number}"] = partial(ways.regular, model, [view], 1)
        if "naive" in plan.schemes:
            tasks[method.spec, "naive"] = partial(_naive, model, seen, tokens, method)
        for schedule in SCHEDULES:
            if schedule in plan.schemes:
                tasks[method.spec, schedule] = partial(_ours, model, seen, tokens, method, schedule)
    readings: dict[Key, list[Reading]] = {key: [] for key in tasks}
    for repeat, key in plan.stages("caption", tasks):
        reading = read(model.hf_model, tasks[key], prompt)
        if repeat >= 0:
            readings[key].append(reading)
    singles = {name: _single(model, name, seen, tokens) for name, seen in views.items()}
    rows = [
        _caption_row(key, found, readings, singles.get(key[0]))
        for key, found in readings.items()
        if not key[1].startswith("view")
    ]
    base = statistics.median(reading.seconds for reading in readings[REGULAR])
    floors = [
        Floor(
            method.spec,
            base,
            tuple(
                statistics.median(reading.seconds for reading in view)
                for view in _view_readings(readings, method.spec)
            ),
        )
        for method in plan.methods
    ]
    return rows, floors


def _view_readings(readings: Mapping[Key, list[Reading]], method: str) -> list[list[Reading]]:
    return [
        found
        for (name, part), found in readings.items()
        if name == method and part.startswith("view")
    ]


def _naive(
    model: Model, views: Sequence[dict[str, Any]], tokens: int, method: Method, clock: Clock
) -> torch.Tensor:
    return ways.naive(model, views, tokens, clock, method)


def _ours(
    model: Model,
    views: Sequence[dict[str, Any]],
    tokens: int,
    method: Method,
    schedule: str,
    clock: Clock,
) -> torch.Tensor:
    return ways.ours(model, views, tokens, clock, method, schedule)


def _views(model: Model, method: Method, image: Image.Image) -> list[dict[str, Any]]:
    sample = Sample(image, CAPTION).opened()
    draws = generator(0)
    seen = [view.apply(sample, draws) for view in method.views(sample)]
    return [model.encode_sample(one) for one in seen]


def _caption_row(
    key: Key,
    found: list[Reading],
    readings: Mapping[Key, list[Reading]],
    single: float | None,
) -> Measurement:
    method, scheme = key
    regular = readings[REGULAR]
    extra = _view_readings(readings, method)
    floors = [
        base.seconds + sum(view[repeat].seconds for view in extra)
        for repeat, base in enumerate(regular)
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
        per_token=statistics.median(reading.per_token for reading in found),
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
    model: Model, method: str, views: Sequence[dict[str, Any]], tokens: int
) -> float | None:
    """Share of the steps in which a single token is plausible, from an untimed run."""
    counts: list[int] = []

    def watch(step: Step) -> None:
        if step.plausible is not None:
            counts.extend(step.plausible.sum(dim=-1).tolist())

    original, *others = views
    model.hf_model.generate(
        **original,
        custom_generate=decode,
        method=method,
        views=others,
        observer=watch,
        max_new_tokens=tokens,
        do_sample=False,
    )
    return sum(count == 1 for count in counts) / len(counts) if counts else None


def _questions(plan: _Plan, samples: Sequence[Sample], tokens: int) -> list[Measurement]:
    model = plan.model
    tasks: dict[Key, Callable[[], object]] = {
        REGULAR: partial(_one_by_one, model, create("regular"), samples, tokens)
    }
    for method in plan.methods:
        if "naive" in plan.schemes:
            tasks[method.spec, "naive"] = partial(_one_by_one, model, method, samples, tokens)
        if "auto" in plan.schemes:
            for scheme, share in (("auto", False), ("auto, shared views", True)):
                tasks[method.spec, scheme] = partial(
                    model.answer_batch,
                    samples,
                    method,
                    max_new_tokens=tokens,
                    batch_size=len(samples),
                    share_views=share,
                )
    seconds: dict[Key, list[float]] = {key: [] for key in tasks}
    costs: dict[Key, tuple[int, int]] = {}
    for repeat, key in plan.stages("yes/no", tasks):
        model.prefixes.clear()
        with counted(model.hf_model) as count, peak_memory(model.hf_model.device) as peak:
            start = time.perf_counter()
            tasks[key]()
            took = time.perf_counter() - start
        if repeat >= 0:
            seconds[key].append(took)
            costs[key] = (count[0], max(peak[0], costs.get(key, (0, 0))[1]))
    single = _single_first(model, samples)
    base = seconds[REGULAR]
    return [
        Measurement(
            workload="yes/no",
            method=key[0],
            scheme=key[1],
            seconds=statistics.median(taken),
            spread=(min(taken), max(taken)),
            ratio=_ratio(taken, base),
            per_token=None,
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
            answers.append(ways.regular(model, views, tokens, clock))
        else:
            answers.append(ways.naive(model, views, tokens, clock, method))
    return answers


def _single_first(model: Model, samples: Sequence[Sample]) -> float:
    """Share of the questions whose first token is alone plausible."""
    answers = model.answer_batch(samples, "apc", max_new_tokens=1, evidence=True)
    counts = [answer.evidence[0].plausible for answer in answers if answer.evidence]
    return sum(count == 1 for count in counts) / max(len(counts), 1)
