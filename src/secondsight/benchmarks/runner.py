"""Generating and scoring: all methods and their controls on one benchmark, in one folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from secondsight import methods as decoding
from secondsight.answer import Answer
from secondsight.benchmarks.base import (
    Benchmark,
    Item,
    Source,
    absent_images,
    create,
    unreadable_images,
)
from secondsight.benchmarks.comparison import REGULAR, Comparison, compare
from secondsight.benchmarks.fingerprint import dataset_hash, weights_hash
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.report import write_reports
from secondsight.benchmarks.run import Key, Run
from secondsight.benchmarks.statistics import RESAMPLES
from secondsight.checkpoints.loading import load
from secondsight.errors import DataError, UserError
from secondsight.files import PathLike
from secondsight.inference.model import Model
from secondsight.presets import Preset
from secondsight.presets import preset as find_preset
from secondsight.sample import Sample
from secondsight.settings import Settings
from secondsight.views import draws

_BATCHES: Final = 4
"""How many batches' items are answered in one go: the model keeps its batch full among them, and
no more than these are lost when a run is killed."""

METHODS = ("regular", "ritual", "vcd", "m3id")
_VERSIONS = ("secondsight", "torch", "torchvision", "transformers", "pillow", "numpy")
"""Packages that have a hand in the answers."""


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

    judge: Benchmark
    preset: Preset
    methods: Mapping[str, decoding.Method]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    source: Source
    items: tuple[Item, ...]
    batch_size: int

    def batches(self) -> Iterator[tuple[str, int, Sequence[Item]]]:
        """Method, seed and items, in the order in which they are answered."""
        step = _BATCHES * self.batch_size
        for method in self.methods:
            for seed in self.seeds:
                for start in range(0, len(self.items), step):
                    yield method, seed, self.items[start : start + step]

    def sample(self, item: Item) -> Sample:
        """What the model is asked."""
        question = self.preset.question(item.question, self.judge.name)
        return Sample(item.image, question, id=item.id)

    def seed_answered(self, method: str, seed: int) -> int:
        """The seed whose answers are a seed's: another one where nothing at all is drawn."""
        made = self.methods[method]
        sample = self.sample(self.items[0])
        fixed = made.ask_first(sample) is None and not any(map(draws, made.views(sample)))
        return self.seeds[0] if fixed and self.settings["temperature"] == 0 else seed


def evaluate(
    benchmark: str,
    *,
    model: Model | Callable[[], Model] | str | Path | None = None,
    methods: Sequence[str] = METHODS,
    controls: bool = True,
    preset: str | Preset = "llava-official",
    seeds: Sequence[int] = (0,),
    source: Source | None = None,
    out: PathLike | None = None,
    batch_size: int = 24,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    max_new_tokens: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    lenient: bool = False,
    progress: bool = True,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Runs methods and controls on a benchmark, or goes on with a run that was interrupted.

    Args:
        benchmark: ``pope``, ``chair``, ``mme``, ``amber`` or a registered one.
        model: A loaded model, a function that loads one once everything else is found right, a
            local folder or hub id, or None for the bundled model.
        methods: Decoding methods; regular decoding is always among them.
        controls: Add every control method, so that a gain can be told from sharpening.
        preset: The protocol (``ritual-2024``, ...): prompt, question suffix, POPE parser.
        seeds: Each method answers everything once per seed.
        source: Where the items come from; by default StickerScenes.
        out: The run's folder. If it holds a run of these settings, that run is continued. By
            default a folder under ``runs``, named after the settings.
        batch_size: Samples per batch; the answers do not depend on it.
        temperature: Of sampling. Papers sample at 1; the control ``greedy`` stays greedy.
        top_p: Of sampling.
        top_k: Of sampling.
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
    source = source or Source(dataset="stickers")
    source = replace(source, parser=source.parser or asked.pope_parser)
    chosen = _methods(methods, controls)
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds must be one or more different whole numbers, not {list(seeds)}")
    if batch_size < 1:
        raise UserError(f"the batch size must be at least 1, not {batch_size}")
    judge = create(benchmark)
    settings: dict[str, Any] = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "max_new_tokens": judge.max_new_tokens if max_new_tokens is None else max_new_tokens,
    }
    for seed in seeds:
        Settings(**settings, seed=seed)  # refuses what cannot be used now, not after the loading
    items, warnings = _items(judge, source, lenient)
    answering = _loaded(model, device, dtype, asked)
    plan = _Plan(judge, asked, chosen, tuple(seeds), settings, source, tuple(items), batch_size)
    config = _config(plan, answering)
    with Run(out or _own_folder(config), config, _environment(plan)) as run:
        _generate(run, plan, answering, progress)
        comparison = compare(
            judge,
            items,
            run.texts(chosen, seeds, [item.id for item in items]),
            [method for method, made in chosen.items() if made.control],
            resamples=resamples,
            warnings=warnings,
        )
        write_reports(run, comparison, judge)
    return Evaluation(comparison, run.folder)


def _methods(specs: Sequence[str], controls: bool) -> dict[str, decoding.Method]:
    """Methods by canonical name: regular first, controls last, each once."""
    made = [decoding.create(spec) for spec in (REGULAR, *specs)]
    if controls:
        made += [decoding.create(name) for name in decoding.controls()]
    made.sort(key=lambda method: method.control)
    return {method.spec: method for method in made}


def _items(judge: Benchmark, source: Source, lenient: bool) -> tuple[list[Item], tuple[str, ...]]:
    if source.limit is not None and source.limit < 1:
        raise UserError(f"--limit must be at least 1, not {source.limit}")
    problems = Problems(lenient=lenient)
    items = judge.load(source, problems)
    if len({item.id for item in items}) < len(items):
        raise DataError(f"{judge.name}: items share ids, so their answers cannot be told apart")
    if source.limit is not None:
        kept = set(list(dict.fromkeys(item.image_id for item in items))[: source.limit])
        items = [item for item in items if item.image_id in kept]
    gone: set[Path] = set()
    for kind, files in (
        ("absent", absent_images(items)),
        ("unreadable", unreadable_images(items)),
    ):
        if files and not lenient:
            names = "\n".join(f"  {path}" for path in files)
            raise DataError(f"{len(files)} listed images are {kind}:\n{names}")
        for path in files:
            problems.add(f"{kind} image", f"{path}")
        gone.update(files)
    items = [i for i in items if not (isinstance(i.image, Path) and i.image in gone)]
    warnings = problems.settle()
    if not items:
        raise DataError("\n".join([f"{judge.name}: nothing to ask", *warnings]))
    return items, warnings


def _loaded(
    model: Model | Callable[[], Model] | str | Path | None, device: str, dtype: str, asked: Preset
) -> Model:
    if model is None or isinstance(model, str | Path):
        return load(model, device=device, dtype=dtype, preset=asked)
    if callable(model):
        model = model()
    if model.preset.name != asked.name:
        raise UserError(
            f"the model was loaded with the preset {model.preset.name!r}, but the run asks for "
            f"{asked.name!r}; load it with that preset"
        )
    return model


def _config(plan: _Plan, model: Model) -> dict[str, Any]:
    """All that the answers and their scores depend on."""
    first = next(model.hf_model.parameters())
    return {
        "benchmark": plan.judge.name,
        # A folder by its own name: where it lies on this machine changes no answer.
        "model": Path(model.name).name if Path(model.name).is_dir() else model.name,
        "revision": model.revision,
        "weights_sha256": weights_hash(model.hf_model.state_dict()),
        "dtype": str(first.dtype).removeprefix("torch."),
        "device": first.device.type,
        "preset": plan.preset.name,
        **plan.judge.scoring(),
        "methods": {spec: {"name": m.name, **m.parameters} for spec, m in plan.methods.items()},
        "seeds": list(plan.seeds),
        "settings": dict(plan.settings),
        "dataset": {
            "name": _dataset_name(plan.source),
            "sha256": dataset_hash(plan.items),
            "items": len(plan.items),
            "images": len({item.image_id for item in plan.items}),
        },
        "versions": {name: version(name) for name in _VERSIONS},
    }


def _dataset_name(source: Source) -> str:
    if source.dataset is not None:
        return f"{source.dataset}/{source.split}"
    path = source.questions or source.instances or source.annotations
    return Path(path).name if path is not None else "unnamed"


def _own_folder(config: Mapping[str, Any]) -> Path:
    """A folder that the same settings find again and no others do."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    data = config["dataset"]["name"].replace("/", "-")
    return Path("runs") / f"{config['benchmark']}-{data}-{digest[:8]}"


def _environment(plan: _Plan) -> dict[str, Any]:
    """What is worth knowing but does not change answers."""
    return {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "batch_size": plan.batch_size,
        "strategy": plan.source.strategy if plan.source.dataset is not None else None,
    }


def _generate(run: Run, plan: _Plan, model: Model, progress: bool) -> None:
    """Answers what is not answered yet.

    The batches are the same in an uninterrupted run and in one that goes on: a batch that was
    half written is computed whole again, so that rounding cannot differ.
    """
    with _bar(progress) as bar:
        task = bar.add_task("", total=len(plan.methods) * len(plan.seeds) * len(plan.items))
        for method, seed, batch in plan.batches():
            keys: list[Key] = [(method, seed, item.id) for item in batch]
            if not all(key in run.answers for key in keys):
                bar.update(task, description=method)
                run.append(zip(keys, _answers(run, plan, model, method, seed, batch), strict=True))
            bar.advance(task, len(batch))


def _answers(
    run: Run, plan: _Plan, model: Model, method: str, seed: int, batch: Sequence[Item]
) -> list[dict[str, Any]]:
    """The lines of one batch."""
    answered = plan.seed_answered(method, seed)
    if answered != seed:
        return [run.answers[method, answered, item.id] for item in batch]
    # What earlier batches left there was rounded in their company: with it, a run that goes on
    # could differ from one that was never interrupted.
    model.prefixes.clear()
    answers = model.answer_batch(
        [plan.sample(item) for item in batch],
        method=method,
        seed=seed,
        batch_size=plan.batch_size,
        **plan.settings,
    )
    return [_line(item, answer) for item, answer in zip(batch, answers, strict=True)]


def _line(item: Item, answer: Answer) -> dict[str, Any]:
    return {
        "image_id": item.image_id,
        "text": answer.text,
        "tokens": len(answer.ids),
        "finish_reason": answer.finish_reason,
    }


class _Rate(ProgressColumn):
    """Answers per second."""

    def render(self, task: Task) -> Text:
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
