"""Generating and scoring: all methods and their controls on one benchmark, in one folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as ShownTask
from rich.text import Text

from secondsight import methods as decoding
from secondsight.benchmarks.asking import Asking
from secondsight.benchmarks.base import Benchmark
from secondsight.benchmarks.batches import Batches
from secondsight.benchmarks.comparison import REGULAR, Comparison, compare
from secondsight.benchmarks.distributed import Crew, Distributed
from secondsight.benchmarks.fingerprint import item_hashes
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.registry import create
from secondsight.benchmarks.report import write_reports
from secondsight.benchmarks.run import Given, Key, Run
from secondsight.benchmarks.scoring import unanswered
from secondsight.benchmarks.statistics import RESAMPLES
from secondsight.benchmarks.task import Item, Task, first_images
from secondsight.checkpoints.loading import load
from secondsight.code_identity import code_hash
from secondsight.errors import DataError, UserError
from secondsight.files import PathLike
from secondsight.inference.model import Model
from secondsight.presets import Preset
from secondsight.presets import preset as find_preset
from secondsight.settings import Settings
from secondsight.views import draws

METHODS = ("regular", "ritual", "vcd", "m3id")


@dataclass(frozen=True)
class Evaluation:
    """A finished run: its table, and the folder with everything else."""

    comparison: Comparison
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """The table, as ``scores.json`` holds it."""
        return self.comparison.to_dict()


@dataclass(frozen=True)
class _Plan:
    """All that a run was asked for, checked."""

    benchmark: Benchmark
    task: Task
    asking: Asking
    seeds: tuple[int, ...]
    items: tuple[Item, ...]
    hashes: Mapping[str, str]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods' names."""
        return tuple(self.asking.methods)

    @property
    def batches(self) -> Batches[Item]:
        """The batches in the order in which they are answered."""
        return Batches(self.items, self.methods, self.seeds, self.asking.batch_size)

    def seed_answered(self, method: str, seed: int) -> int:
        """The seed whose answers are a seed's: another one where nothing at all is drawn."""
        return self.seeds[0] if method in self.drawing_nothing else seed

    @cached_property
    def drawing_nothing(self) -> frozenset[str]:
        """The methods for which another seed gives the same answers."""
        if self.asking.settings["temperature"] != 0:
            return frozenset()
        sample = self.asking.sample(self.items[0]).opened()
        return frozenset(
            spec
            for spec, made in self.asking.methods.items()
            if made.ask_first(sample) is None and not any(map(draws, made.views(sample)))
        )


_Asked = Callable[[int, Sequence[Item]], Sequence[Given | UserError]]
"""Gives the answers to some items of a batch, by its number."""


def evaluate(
    benchmark: str | Benchmark,
    *,
    options: Mapping[str, Any] | None = None,
    model: Model | Callable[[], Model] | Distributed | str | Path | None = None,
    methods: Sequence[str] = METHODS,
    controls: bool = True,
    equal_length: Sequence[str] = (),
    preset: str | Preset = "llava-official",
    seeds: Sequence[int] = (0,),
    limit: int | None = None,
    out: PathLike | None = None,
    batch_size: int = 24,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    num_beams: int = 1,
    max_new_tokens: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    lenient: bool = False,
    progress: bool = True,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Runs methods and controls on a benchmark, or goes on with a run.

    What the folder has already is not asked again: a run that was interrupted goes on, and a
    finished one takes further methods, seeds and images, or is scored by another parser.

    Args:
        benchmark: A benchmark, or its name with options (``pope:dataset=stickers``).
        options: Further options of the benchmark, by name.
        model: A loaded model, a function that loads one once everything else is found right, a
            local folder or hub id, or None for the bundled model; or workers that each load one.
        methods: Decoding methods; regular decoding is always among them.
        controls: Add every control method, so that a gain can be told from sharpening.
        equal_length: Those of the methods that get one more control each: regular decoding's
            captions, cut image by image to the number of words of the method's.
        preset: The protocol (``ritual-2024``, ...): prompt, question suffix, POPE parser.
        seeds: Each method answers everything once per seed.
        limit: Ask about the first so many images, with all their questions; by default about all,
            and about 100 of the sticker scenes.
        out: The run's folder. Answers that it holds must have been made with the same model,
            preset, dataset and settings. By default a folder under ``runs``, named after these.
        batch_size: Samples per batch; the answers do not depend on it.
        temperature: Of sampling. Papers sample at 1; the control ``greedy`` stays greedy.
        top_p: Of sampling.
        top_k: Of sampling.
        num_beams: Above 1: of beam search, whose temperature is 0.
        max_new_tokens: Limit of an answer, by default the benchmark's.
        device: Where to load the model.
        dtype: In which precision to load it.
        lenient: Leave out bad records and absent images, counted, instead of stopping.
        progress: Show a progress bar on stderr.
        resamples: Resamples of the bootstrap.

    Raises:
        DataError: Bad input; all absent images are named before anything is generated.
        RunMismatchError: The folder holds another run.
        UserError: Unknown names or unusable settings.
    """
    asked = find_preset(preset)
    made = create(benchmark, options)
    made = made.with_defaults(asked.options(made.name))
    chosen = _methods(methods, controls)
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds must be one or more different whole numbers, not {list(seeds)}")
    if batch_size < 1:
        raise UserError(f"the batch size must be at least 1, not {batch_size}")
    if limit is not None and limit < 1:
        raise UserError(f"--limit must be at least 1, not {limit}")
    settings: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    if num_beams != 1:
        settings["num_beams"] = num_beams
    for seed in seeds:  # refuses what cannot be used now, not after the loading
        Settings(**settings, max_new_tokens=max_new_tokens or 1, seed=seed)
    if max_new_tokens is not None:
        Settings(max_new_tokens=max_new_tokens)
    problems = Problems(lenient=lenient)
    task = made.load(problems)
    settings["max_new_tokens"] = task.max_new_tokens if max_new_tokens is None else max_new_tokens
    shortened = _shortened(equal_length, chosen, task)
    items = _items(made.name, task, limit, problems)
    suffix = asked.question("", made.name)
    asking = Asking(asked.name, suffix, chosen, settings, batch_size)
    plan = _Plan(made, task, asking, tuple(seeds), items, item_hashes(items))
    with ExitStack() as held:
        if isinstance(model, Distributed):
            names = [item.id for item in items]
            ids = Batches(names, plan.methods, plan.seeds, batch_size)
            crew = held.enter_context(Crew(model, made.name, made.options, asking, ids))
            config = _config(plan, crew.made_with)
            run = held.enter_context(_run(out, config, plan))
            crew.begin(_missing(run, plan))
            asked_for: _Asked = crew.answers
        else:
            answering = _loaded(model, device, dtype, asked)
            config = _config(plan, asking.made_with(answering))
            run = held.enter_context(_run(out, config, plan))
            asked_for = partial(_by, answering, plan)
        answered = _generate(run, plan, asked_for, problems, progress)
        comparison = compare(
            made.name,
            task,
            answered,
            run.responses(chosen, plan.seeds, answered),
            [spec for spec, method in chosen.items() if method.control],
            equal_length=shortened,
            applies=decoding.registry.is_control_of,
            resamples=resamples,
            warnings=(*problems.settle(), *unanswered(task, answered)),
        )
        write_reports(run.folder, comparison, made.heading, run.manifest)
    return Evaluation(comparison, run.folder)


def _methods(specs: Sequence[str], controls: bool) -> dict[str, decoding.Method]:
    """Methods by canonical name: regular first, controls last, each once."""
    made = [decoding.create(spec) for spec in (REGULAR, *specs)]
    if controls:
        names = [method.name for method in made]
        made += [decoding.create(name) for name in decoding.controls_of(names)]
    made.sort(key=lambda method: method.control)
    return {method.spec: method for method in made}


def _shortened(
    specs: Sequence[str], chosen: Mapping[str, decoding.Method], task: Task
) -> list[str]:
    """Canonical names of the methods that are held against captions of their length."""
    found = list(dict.fromkeys(decoding.create(spec).spec for spec in specs))
    for spec in found:
        if spec not in chosen or chosen[spec].control or spec == REGULAR:
            compared = ", ".join(
                name for name, one in chosen.items() if not one.control and name != REGULAR
            )
            raise UserError(
                f"--equal-length: {spec} is not among the methods that are compared ({compared})"
            )
    if found and task.scorer.caption_counts is None:
        raise UserError(f"--equal-length: {task.dataset} asks for no captions that could be cut")
    return found


def _identity(method: decoding.Method) -> dict[str, Any]:
    """What a method's answers depend on beside its name."""
    code = code_hash(type(method))
    own = {} if code is None else {"code_sha256": code}
    return {"name": method.name, **method.parameters, **own}


def _items(benchmark: str, task: Task, limit: int | None, problems: Problems) -> tuple[Item, ...]:
    """The items that are asked."""
    items = first_images(task.items, task.usual_images if limit is None else limit)
    absent = next((item for item in items if item.image is None), None)
    if absent is not None:
        raise UserError(
            f"{benchmark}: the image of {absent.id!r} is not at hand, without which no model can "
            "be asked; --images names their folder"
        )
    files = list(dict.fromkeys(item.image for item in items if isinstance(item.image, Path)))
    gone: set[Path] = set()
    for kind, found in (
        ("absent", [file for file in files if not file.is_file()]),
        ("unreadable", [file for file in files if file.is_file() and not _begins_as_image(file)]),
    ):
        if found and not problems.lenient:
            names = "\n".join(f"  {path}" for path in found)
            raise DataError(f"{len(found)} listed images are {kind}:\n{names}")
        for path in found:
            problems.add(f"{kind} image", f"{path}")
        gone.update(found)
    items = [i for i in items if not (isinstance(i.image, Path) and i.image in gone)]
    warnings = problems.settle()
    if not items:
        raise DataError("\n".join([f"{benchmark}: nothing to ask", *warnings]))
    return tuple(items)


def _begins_as_image(file: Path) -> bool:
    """Whether a file is an image, by a look at its beginning."""
    try:
        with Image.open(file):
            return True
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def _loaded(
    model: Model | Callable[[], Model] | str | Path | None, device: str, dtype: str, asked: Preset
) -> Model:
    if model is None or isinstance(model, str | Path):
        return load(model, device=device, dtype=dtype, preset=asked)
    return model() if callable(model) else model


def _config(plan: _Plan, made_with: Mapping[str, Any]) -> dict[str, Any]:
    """What all answers of a run have in common."""
    return {
        "benchmark": plan.benchmark.name,
        "dataset": plan.task.dataset,
        **made_with,
        "settings": dict(plan.asking.settings),
    }


def _run(out: PathLike | None, config: Mapping[str, Any], plan: _Plan) -> Run:
    """The run's folder, opened, with what is going to be answered."""
    run = Run(out or _own_folder(config), config, _environment(plan))
    try:
        methods = {spec: _identity(method) for spec, method in plan.asking.methods.items()}
        run.declare(methods, plan.hashes)
    except BaseException:
        run.__exit__()
        raise
    return run


def _by(model: Model, plan: _Plan, number: int, items: Sequence[Item]) -> list[Given | UserError]:
    method, seed, _ = plan.batches[number]
    return plan.asking.answers(model, method, seed, items)


def _own_folder(config: Mapping[str, Any]) -> Path:
    """A folder that the same settings find again and no others do."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    data = config["dataset"].replace("/", "-")
    return Path("runs") / f"{config['benchmark']}-{data}-{digest[:8]}"


def _environment(plan: _Plan) -> dict[str, Any]:
    """What is worth knowing but does not change answers."""
    return {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "batch_size": plan.asking.batch_size,
    }


def _generate(
    run: Run, plan: _Plan, asked: _Asked, problems: Problems, progress: bool
) -> tuple[Item, ...]:
    """Answers what is not answered yet.

    The batches are the same in an uninterrupted run and in one that goes on: a batch that was
    half written is computed whole again, so that rounding cannot differ.

    Args:
        run: The run's folder.
        plan: What is asked.
        asked: Gives answers.
        problems: Receives questions that cannot be answered.
        progress: Whether a bar is shown.

    Returns:
        The items that every method answered: all of them, unless bad ones are left out.

    Raises:
        DataError: A question cannot be answered.
    """
    failed: dict[str, UserError] = {}
    with _bar(progress) as bar:
        shown = bar.add_task("", total=len(plan.methods) * len(plan.seeds) * len(plan.items))
        for number, (method, seed, batch) in enumerate(plan.batches):
            wanted = [item for item in batch if item.id not in failed]
            if not all(Key(method, seed, item.id) in run.answers for item in wanted):
                bar.update(shown, description=method)
                found = _answers(run, plan, asked, number, wanted)
                run.append(
                    (Key(method, seed, item.id), item, plan.hashes[item.id], given)
                    for item, given in zip(wanted, found, strict=True)
                    if isinstance(given, Given)
                )
                for item, given in zip(wanted, found, strict=True):
                    if not isinstance(given, Given):
                        failed[item.id] = given
                if failed and not problems.lenient:
                    first, error = next(iter(failed.items()))
                    raise DataError(
                        f"{len(failed)} questions cannot be answered, the first of them {first}: "
                        f"{error}"
                    )
            bar.advance(shown, len(batch))
    for name, error in failed.items():
        problems.add("question that cannot be answered", f"{name}: {error}")
    return tuple(item for item in plan.items if item.id not in failed)


def _answers(
    run: Run, plan: _Plan, asked: _Asked, number: int, items: Sequence[Item]
) -> Sequence[Given | UserError]:
    method, seed, _ = plan.batches[number]
    answered = plan.seed_answered(method, seed)
    if answered != seed:
        return [run.answers[Key(method, answered, item.id)] for item in items]
    return asked(number, items)


def _missing(run: Run, plan: _Plan) -> Iterator[int]:
    """The numbers of the batches that a model has to be asked, in order."""
    for number, (method, seed, batch) in enumerate(plan.batches):
        if plan.seed_answered(method, seed) == seed and not all(
            Key(method, seed, item.id) in run.answers for item in batch
        ):
            yield number


class _Rate(ProgressColumn):
    """Answers per second."""

    def render(self, task: ShownTask) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )
