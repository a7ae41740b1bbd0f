"""Shards on a Ray cluster: Ray places an actor per worker, with its card, and is told numbers only.

What the work reads and writes must be where all nodes see it. Resuming, files and exactness are
those of `secondsight.bulk.run`; placement, restarts of nodes, cards and autoscaling are Ray's.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from secondsight.bulk.answering import Answering, Records, Work
from secondsight.bulk.deaths import (
    BLAMED,
    CAREFUL_AFTER,
    HOPELESS,
    STARTS,
    WorkerError,
    given_up,
    hopeless,
)
from secondsight.bulk.memory import watch_memory
from secondsight.bulk.worker import Worker
from secondsight.bulk.workers import Died, Done, Event, Started, done
from secondsight.errors import UserError
from secondsight.extras import needed

LOCAL: Final = "local"
"""The address that starts a cluster on this machine, for the time of the run."""

_GONE: Final = "Ray lost its actor"
"""Why an actor ended: Ray does not say the process's own code."""


def on_ray(address: str, *, num_gpus: float = 0.0, num_cpus: float = 1.0) -> Any:
    """What has shards answered on a Ray cluster; for `Caption.carry`.

    Args:
        address: Of a cluster (``auto`` for the one that this machine belongs to), or ``local``.
        num_gpus: Cards that each worker is given.
        num_cpus: Cores that each worker is given.
    """
    return partial(RayWorkers, address=address, num_gpus=num_gpus, num_cpus=num_cpus)


class RayWorkers:
    """Ray actors that are handed shards, and replaced when they die; as `Workers`.

    Args:
        work: The rows, the same on every node.
        starter: Makes what answers.
        count: How many actors.
        memory: As for `Workers`; Ray itself ends actors where a node's memory runs out.
        address: See `on_ray`.
        num_gpus: See `on_ray`.
        num_cpus: See `on_ray`.

    Raises:
        MissingPackageError: Ray is not installed.
        UserError: There is no cluster at the address.
    """

    def __init__(
        self,
        work: Work,
        starter: Callable[[], Answering],
        count: int,
        memory: int | None = None,
        *,
        address: str,
        num_gpus: float,
        num_cpus: float,
    ) -> None:
        with needed("ray", "A run on Ray"):
            import ray
        self._ray, self._starter = ray, starter
        self._work, self._count, self._memory = work, count, memory
        self._answered, self._given_up = False, 0
        self._own = not ray.is_initialized()
        if self._own:
            try:
                ray.init(
                    address=None if address == LOCAL else address,
                    log_to_driver=False,
                    include_dashboard=False,
                    logging_level="ERROR",
                    runtime_env={"env_vars": _environment(num_cpus)},
                )
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise UserError(f"There is no Ray cluster at {address!r}: {error}") from None
        # Ray itself restarts nothing: a death is counted here, and blamed on a row.
        self._actor = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=0)(_Actor)
        self._actors: dict[int, Any] = {}

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *error: object) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        if self._own:
            self._ray.shutdown()

    def agree(self) -> None:
        """See `Workers.agree`; here the caller's own thread goes on with the events."""

    def run(self, shards: Iterable[int]) -> Iterator[Event]:
        """See `Workers.run`."""
        left = _Left(shards)
        tasks: dict[Any, _Start | _Task] = {}
        count = min(self._count, len(shards)) if isinstance(shards, Sized) else self._count
        for number in range(count):
            self._begin(tasks, _Start(number))
        idle: list[int] = []
        # Actors that find no place any more, after a node was lost, are not waited for.
        while tasks and (left.any or any(isinstance(one, _Task) for one in tasks.values())):
            (ready, *_), _ = self._ray.wait(list(tasks), num_returns=1)
            task = tasks.pop(ready)
            said = self._said(ready, task)
            if isinstance(said, str):  # why the actor ended
                if isinstance(task, _Task):
                    yield Died(task.worker, task.shard, said)
                    self._given_up += task.died()
                    if self._given_up >= HOPELESS and not self._answered:
                        raise hopeless(self._given_up, said)
                    left.again.append(task)
                self._replace(tasks, task)
            elif isinstance(task, _Start):
                yield Started(task.worker, said["identity"], said["device"])
                idle.append(task.worker)
            elif isinstance(said, list):  # a row, answered by itself
                task.records += said
                self._answered = True
                self._next(tasks, task)
            else:
                event: Done = done(task.worker, task.shard, said)
                self._answered |= event.rows > len(event.failed)
                yield event
                idle.append(task.worker)
            self._occupy(tasks, idle, left)

    def _said(self, ready: Any, task: _Start | _Task) -> Any:
        """What an actor answers to a task; where it ended, why, as text."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ready)
        except (errors.RayActorError, errors.OutOfMemoryError):
            return _GONE
        except errors.RayTaskError as error:
            if isinstance(task, _Start) or isinstance(error.cause, UserError):
                cause = error.cause if isinstance(error.cause, UserError) else error
                raise WorkerError(f"A worker cannot go on: {cause}") from None
            self._ray.kill(self._actors[task.worker])  # over a row it is that row's
            return f"{type(error.cause).__name__}: {error.cause}"

    def _occupy(self, tasks: dict[Any, _Start | _Task], idle: list[int], left: _Left) -> None:
        while idle and (task := left.take()) is not None:
            task.worker = idle.pop()
            self._next(tasks, task)

    def _begin(self, tasks: dict[Any, _Start | _Task], start: _Start) -> None:
        """Start an actor and have it load its model."""
        actor = self._actors[start.worker] = self._actor.remote()
        tasks[actor.start.remote(self._work, self._starter, self._memory)] = start

    def _replace(self, tasks: dict[Any, _Start | _Task], task: _Start | _Task) -> None:
        """Start an actor in the place of one that died."""
        start = task if isinstance(task, _Start) else _Start(task.worker)
        start.deaths += isinstance(task, _Start)
        if start.deaths == STARTS:
            raise WorkerError("Workers end while they load the model. Is there memory for it?")
        self._begin(tasks, start)

    def _next(self, tasks: dict[Any, _Start | _Task], task: _Task) -> None:
        """Have the next thing done that a shard needs."""
        actor = self._actors[task.worker]
        if task.deaths < CAREFUL_AFTER:
            tasks[actor.shard.remote(task.shard)] = task
            return
        size = len(self._work.rows(task.shard))
        place = len(task.records)
        while place < size and place in task.skip:
            task.records.append(None)  # given up; the actor knows the row
            place += 1
        if place == size:
            tasks[actor.keep.remote(task.shard, task.records)] = task
        else:
            tasks[actor.row.remote(task.shard, place)] = task


@dataclass
class _Start:
    """An actor that loads its model.

    Attributes:
        worker: Which worker it is.
        deaths: How many ended in its place while they loaded.
    """

    worker: int
    deaths: int = 0


@dataclass
class _Task:
    """A shard on its way.

    Attributes:
        shard: Which it is.
        worker: Who is at it.
        deaths: Workers that ended over it.
        records: Where it is answered row by row: those so far, None for one that is given up.
    """

    shard: int
    worker: int = -1
    deaths: int = 0

    def __post_init__(self) -> None:
        self.records: list[Any] = []
        self.blamed: Counter[int] = Counter()

    @property
    def skip(self) -> set[int]:
        """Rows that are given up."""
        return {place for place, times in self.blamed.items() if times >= BLAMED}

    def died(self) -> bool:
        """Note that a worker ended over it; whether a row is given up for that."""
        place, careful = len(self.records), self.deaths >= CAREFUL_AFTER
        self.deaths += 1
        self.blamed[place] += careful
        return careful and self.blamed[place] == BLAMED


class _Left:
    """Shards that nobody is at: some from before, whose workers died, then those to come."""

    def __init__(self, shards: Iterable[int]) -> None:
        self.again: deque[_Task] = deque()
        self._shards, self._over = iter(shards), False

    @property
    def any(self) -> bool:
        """Whether there may be another."""
        return bool(self.again) or not self._over

    def take(self) -> _Task | None:
        """The next one; None if there is none."""
        if self.again:
            return self.again.popleft()
        shard = next(self._shards, None)
        self._over = shard is None
        return None if shard is None else _Task(shard)


class _Actor:
    """A worker as Ray runs it."""

    def start(
        self, work: Work, starter: Callable[[], Answering], memory: int | None
    ) -> dict[str, Any]:
        """Load the model; say with what rows will be answered, and where."""
        watch_memory(memory)
        self._said: dict[str, Any] = {}
        answering = starter()
        self._worker = Worker(work, answering, self._said.update)
        return {"identity": dict(answering.identity), "device": answering.device}

    def shard(self, number: int) -> dict[str, Any]:
        """Answer a shard and keep its records."""
        self._worker.shard(number)
        return self._said

    def row(self, number: int, place: int) -> Records:
        """Answer one row of a shard."""
        return self._worker.row(number, place)

    def keep(self, number: int, records: list[Any]) -> dict[str, Any]:
        """Keep the records of a shard whose rows were answered one by one."""
        rows = self._worker.rows(number)
        whole = [
            given_up(row) if record is None else record
            for row, record in zip(rows, records, strict=True)
        ]
        self._worker.keep(number, whole)
        return self._said


def _environment(num_cpus: float) -> dict[str, str]:
    kept = ("PYTHONPATH", "SECONDSIGHT_PLUGINS")
    threads = {"OMP_NUM_THREADS": str(max(1, int(num_cpus)))}
    return {**{name: os.environ[name] for name in kept if name in os.environ}, **threads}
