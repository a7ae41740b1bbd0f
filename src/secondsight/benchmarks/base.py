"""What a benchmark is, and how one registers.

A benchmark turns its files into items (an image, a question, the truth), reduces answers to
additive counts, and computes its metrics from their sums. Everything else (running, resuming,
intervals, comparisons, reports) is the same for all. A new one is a file with one class::

    @register
    class Mine(Benchmark):
        name = "mine"
        ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from PIL import Image

from secondsight.benchmarks.counts import Array, Counts
from secondsight.benchmarks.records import Problems
from secondsight.errors import DataError, UserError, nearest
from secondsight.files import PathLike


@dataclass(frozen=True)
class Item:
    """One question about one image.

    Attributes:
        id: Names it, uniquely in its dataset; the random numbers come from the seed and this.
        image_id: The image's name: what the bootstrap draws.
        image: The image or its file.
        question: The text, before the preset adds its suffix.
        truth: What the answer is held against (JSON-ready).
    """

    id: str
    image_id: str
    image: Image.Image | Path = field(repr=False)
    question: str
    truth: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Where a benchmark's items come from; each benchmark uses what it needs.

    Attributes:
        dataset: A built-in dataset (``stickers``) instead of files.
        split: The split of a built-in dataset.
        limit: Use the first so many images, with all their questions.
        questions: POPE question file, or AMBER's query file.
        images: Folder of the images.
        instances: COCO-format instances file.
        captions: COCO captions file of references.
        synonyms: Synonym file in CHAIR's official format.
        annotations: AMBER's data folder, or MME's benchmark folder.
        strategy: How POPE questions are drawn on a built-in dataset.
        per_image: Positive and as many negative POPE questions per image there.
        prompt: The instruction for captions, instead of the benchmark's own.
        parser: How POPE answers are read; None for the preset's way, else ``strict``.
        vectors: A spaCy pipeline with word vectors, for AMBER's nouns and near synonyms.
    """

    dataset: str | None = None
    split: str = "test"
    limit: int | None = None
    questions: PathLike | None = None
    images: PathLike | None = None
    instances: PathLike | None = None
    captions: PathLike | None = None
    synonyms: PathLike | None = None
    annotations: PathLike | None = None
    strategy: str = "adversarial"
    per_image: int = 3
    prompt: str | None = None
    parser: str | None = None
    vectors: str | None = None

    def need(self, name: str) -> PathLike:
        """The value of a path option that a benchmark cannot do without.

        Raises:
            UserError: If it was not given.
        """
        value: PathLike | None = getattr(self, name)
        if value is None:
            raise UserError(f"--{name} is needed here (or --dataset stickers, without any file)")
        return value


class Benchmark(ABC):
    """A yes/no or caption benchmark.

    Attributes:
        name: Its name on the command line.
        title: Its name in reports.
        max_new_tokens: The default limit of an answer.
        primary: The metric that verdicts are about; `load` may set what its items allow.
        higher_is_better: Whether more of it is better.
        headline: The metrics that reports show; the terminal shows the first three.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    max_new_tokens: ClassVar[int]
    primary: str
    higher_is_better: bool = True
    headline: tuple[str, ...]

    @abstractmethod
    def load(self, source: Source, problems: Problems) -> list[Item]:
        """Reads the items, in the dataset's order, before any limit."""

    @abstractmethod
    def count(self, items: Sequence[Item], texts: Sequence[str]) -> Counts:
        """Reduces one run's answers, in the items' order, to counts per item."""

    @abstractmethod
    def metrics(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """The metrics from summed counts, elementwise over arrays of any one shape."""

    def scoring(self) -> Mapping[str, Any]:
        """What scores depend on beside items and answers, such as a parser (JSON-ready)."""
        return {}


B = TypeVar("B", bound=type[Benchmark])

_REGISTERED: dict[str, type[Benchmark]] = {}
# Loaded when first asked for.
_BUILT_IN = {
    "pope": "secondsight.benchmarks.pope",
    "chair": "secondsight.benchmarks.chair",
    "mme": "secondsight.benchmarks.mme",
    "amber": "secondsight.benchmarks.amber",
}


def register(benchmark: B) -> B:
    """Class decorator: makes a benchmark known under its name."""
    _REGISTERED[benchmark.name] = benchmark
    return benchmark


def names() -> list[str]:
    """The names of all benchmarks."""
    return sorted({*_REGISTERED, *_BUILT_IN})


def create(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
        UserError: If there is none of that name.
    """
    if name not in _REGISTERED:
        if name not in _BUILT_IN:
            raise UserError(f"No benchmark is called {name!r}.{nearest(name, names())}")
        import_module(_BUILT_IN[name])
    return _REGISTERED[name]()


def image_file(folder: PathLike, name: str) -> Path:
    """The file of a listed image; a name that leaves the folder is refused."""
    root = Path(folder)
    path = root / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{name!r} is not a file name inside {root}")
    return path


def absent_images(items: Sequence[Item]) -> list[Path]:
    """The listed image files that do not exist, each once, in order."""
    return [file for file in _files(items) if not file.is_file()]


def unreadable_images(items: Sequence[Item]) -> list[Path]:
    """The files among the listed images that are no images, by a look at their beginnings."""
    return [file for file in _files(items) if file.is_file() and not _begins_as_image(file)]


def _files(items: Sequence[Item]) -> list[Path]:
    return list(dict.fromkeys(item.image for item in items if isinstance(item.image, Path)))


def _begins_as_image(file: Path) -> bool:
    try:
        with Image.open(file):
            return True
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
