"""What a benchmark is: declared options, and the task that they make.

A new one is a file with one class, and nothing else is edited::

    @register("mine")
    @dataclass(frozen=True)
    class Mine(Benchmark):
        \"\"\"Questions about colours.\"\"\"

        questions: Path | None = option(None, "question file", kind=Path)

        def load(self, problems):
            return Task("mine.jsonl", items, YesNoScorer(), YES_NO_METRICS)
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from secondsight.benchmarks.answer_files import AnswerSet, read_answers
from secondsight.benchmarks.options import check
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.task import Task
from secondsight.errors import DataError, UserError
from secondsight.files import PathLike


@dataclass(frozen=True)
class Benchmark(ABC):
    """Base of all benchmarks: a frozen dataclass whose fields are its options.

    Attributes:
        name: Its name on the command line; `register` sets it.
        title: Its name in reports; by default `name`.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(self.name or type(self).__name__, field, getattr(self, field.name))

    @abstractmethod
    def load(self, problems: Problems) -> Task:
        """Reads the items, and settles how answers are judged.

        Args:
            problems: Receives what is wrong with single records.

        Raises:
            DataError: A file cannot be used at all.
            UserError: An option that is needed is not given, or options do not go together.
        """

    def read(self, answers: PathLike, problems: Problems) -> tuple[Task, tuple[AnswerSet, ...]]:
        """Reads answers that anyone's code produced.

        Args:
            answers: The file, or the folder of a run of ours.
            problems: Receives what is wrong with single records.

        Returns:
            The task, and the answers of each method and seed in the file.

        Raises:
            DataError: A file cannot be used at all.
        """
        task = self.load(problems)
        return task, read_answers(answers, task, problems)

    @property
    def heading(self) -> str:
        """Its name in reports."""
        return self.title or self.name

    @property
    def options(self) -> dict[str, Any]:
        """The options by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def with_defaults(self, defaults: Mapping[str, Any]) -> Benchmark:
        """The same benchmark, with other values for options that are not settled.

        Args:
            defaults: Values by name, such as a protocol has them; they count where the option is
                None. Names of options that the benchmark does not have are passed over.
        """
        open_ones = {name for name, value in self.options.items() if value is None}
        return dataclasses.replace(
            self, **{name: value for name, value in defaults.items() if name in open_ones}
        )

    def need(self, name: str) -> Any:
        """The value of an option that this benchmark cannot do without.

        Raises:
            UserError: It was not given.
        """
        value = self.options[name]
        if value is None:
            built_in = " (or --dataset stickers, without any file)" * ("dataset" in self.options)
            raise UserError(f"{self.name}: --{name} is needed here{built_in}")
        return value

    def refuse_beside(self, chosen: str, others: Sequence[str]) -> None:
        """Refuses options that another one leaves without a meaning.

        Raises:
            UserError: One of the others was given.
        """
        for field in dataclasses.fields(self):
            if field.name in others and getattr(self, field.name) != field.default:
                raise UserError(
                    f"{self.name}: --{field.name} has no meaning with {chosen}. Leave one out."
                )


def image_file(folder: PathLike | None, name: str, where: str = "") -> Path | None:
    """The file of a listed image, None without a folder of images.

    Args:
        folder: The folder.
        name: The image's name in it.
        where: Where the name stands, to begin the error message with.

    Raises:
        DataError: The name is none, or leaves the folder.
    """
    if folder is None:
        return None
    root = Path(folder)
    if not name or Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise DataError(f"{where}{': ' * bool(where)}{name!r} is not a file name inside {root}")
    return root / name
