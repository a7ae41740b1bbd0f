"""A run's questions answered by workers, with the processes (or Ray's actors) of bulk runs.

A worker loads the model and the benchmark, and is told the numbers of batches. The answers come
back to the run's own process, which alone writes, in the order in which it would have asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from secondsight.answers_file import differences
from secondsight.benchmarks.asking import Asking
from secondsight.benchmarks.batches import Batches
from secondsight.benchmarks.records import Problems
from secondsight.benchmarks.registry import create
from secondsight.benchmarks.run import Given
from secondsight.benchmarks.task import Item
from secondsight.bulk.answering import Records, device_of
from secondsight.bulk.deaths import WorkerError
from secondsight.bulk.memory import bytes_of
from secondsight.bulk.rows import Row
from secondsight.bulk.run import ROUNDING, Carry
from secondsight.bulk.workers import Died, Done, Event, Started, Workers
from secondsight.errors import UserError
from secondsight.inference.model import Model
from secondsight.methods import create as method_of


@dataclass(frozen=True)
class Distributed:
    """Workers in place of a model, for `evaluate`.

    Attributes:
        load: Loads the model in a worker; sent there by pickle, such as
            ``functools.partial(secondsight.load, "llava-hf/llava-1.5-7b-hf")``.
        workers: How many, each with a model of its own.
        carry: Has the batches answered: worker processes, or Ray's actors.
        tell: Told what is worth knowing while they work.
        memory_gb: The most memory that a worker may hold, in GB; None for no limit.

    Raises:
        UserError: There are to be no workers.
    """

    load: Callable[[], Model]
    workers: int = 1
    carry: Carry = Workers
    tell: Callable[[str], None] = lambda text: None
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UserError(f"The number of workers must be at least 1, not {self.workers}.")
        bytes_of(self.memory_gb)


class Crew(AbstractContextManager["Crew"]):
    """The workers of one run.

    Args:
        how: How many, and what they load.
        benchmark: The benchmark's name.
        options: Its options.
        asking: How the run asks.
        batches: The batches, of items' ids.

    Attributes:
        made_with: What the answers depend on; see `Asking.made_with`. The first worker says it.
    """

    def __init__(
        self,
        how: Distributed,
        benchmark: str,
        options: Mapping[str, Any],
        asking: Asking,
        batches: Batches[str],
    ) -> None:
        plain = (asking.preset, asking.suffix, tuple(asking.methods), dict(asking.settings))
        starter = _Starter(how.load, benchmark, dict(options), *plain, asking.batch_size)
        self._tell, self._devices = how.tell, dict[str, None]()
        self._missing: Iterable[int] = ()
        self._found: dict[int, Records] = {}
        self._batches = batches
        memory = bytes_of(how.memory_gb)
        self._workers = how.carry(_Batches(batches), starter, how.workers, memory)
        self._events: Iterator[Event] = self._workers.run(self._asked())
        self.made_with: Mapping[str, Any] = {}

    def __enter__(self) -> Crew:
        with ExitStack() as held:
            held.enter_context(self._workers)
            while not self.made_with:
                self._hear()
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def begin(self, missing: Iterable[int]) -> None:
        """Let the workers begin.

        Args:
            missing: The numbers of the batches that are to be answered, in order.
        """
        self._missing = missing
        self._workers.agree()

    def answers(self, number: int, items: Sequence[Item]) -> list[Given | UserError]:
        """The answers to items of a batch, as `Asking.answers` gives them; waits for them."""
        while number not in self._found:
            self._hear()
        found = dict(zip(self._batches[number][2], self._found.pop(number), strict=True))
        return [_answer(found[item.id]) for item in items]

    def _asked(self) -> Iterator[int]:
        yield from self._missing  # what `begin` was given by now

    def _hear(self) -> None:
        event = next(self._events, None)
        if event is None:
            raise WorkerError("The workers ended before everything was answered.")
        if isinstance(event, Started):
            self._started(event)
        elif isinstance(event, Done):
            self._found[event.shard] = event.records
        elif isinstance(event, Died):
            self._tell(f"A worker ended ({event.why}) over batch {event.shard}; another goes on.")

    def _started(self, event: Started) -> None:
        if not self.made_with:
            self.made_with = event.identity
        else:
            differing = list(differences(self.made_with, dict(event.identity)))
            if differing:
                raise WorkerError(f"Two workers differ in {', '.join(differing)}.")
            self._workers.agree()
        self._devices[event.device] = None
        if len(self._devices) == 2:
            self._tell("Warning: " + ROUNDING.format(" and ".join(self._devices)))


def _answer(record: Mapping[str, Any]) -> Given | UserError:
    if "error" in record:
        return UserError(record["error"])
    return Given(record["text"], record["tokens"], record["finish_reason"])


@dataclass(frozen=True)
class _Batches:
    """Rows by batch, for the workers; all records are sent to the driver."""

    batches: Batches[str]

    def rows(self, shard: int) -> list[Row]:
        method, seed, ids = self.batches[shard]
        return [Row(json.dumps([method, seed, one]), None, "") for one in ids]

    def keep(self, shard: int, records: Records) -> Records:
        return records


@dataclass(frozen=True)
class _Starter:
    """Loads a model and a benchmark in a worker. Methods travel by name: they may be plug-ins."""

    load: Callable[[], Model]
    benchmark: str
    options: Mapping[str, Any]
    preset: str
    suffix: str
    methods: tuple[str, ...]
    settings: Mapping[str, Any]
    batch_size: int

    def __call__(self) -> _Answering:
        model = self.load()
        methods = {spec: method_of(spec) for spec in self.methods}
        asking = Asking(self.preset, self.suffix, methods, self.settings, self.batch_size)
        # What is wrong with single records was settled where the run was begun.
        task = create(self.benchmark, self.options).load(Problems(lenient=True))
        return _Answering(model, asking, {item.id: item for item in task.items})


class _Answering:
    """Answers the rows of a batch; see `secondsight.bulk.answering.Answering`."""

    def __init__(self, model: Model, asking: Asking, items: Mapping[str, Item]) -> None:
        self._model, self._asking, self._items = model, asking, items
        self.identity: Mapping[str, Any] = asking.made_with(model)
        self.device = device_of(model)

    def __call__(self, rows: Sequence[Row]) -> Records:
        asked = [json.loads(row.id) for row in rows]
        method, seed, _ = asked[0]
        try:
            items = [self._items[name] for _, _, name in asked]
        except KeyError as error:
            raise UserError(f"The benchmark as this worker finds it has no item {error}.") from None
        found = self._asking.answers(self._model, method, seed, items)
        return [asdict(one) if isinstance(one, Given) else {"error": str(one)} for one in found]
