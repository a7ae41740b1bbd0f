"""The driver's side of workers: processes that are handed shards, and replaced when they die."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

from secondsight.bulk.answering import WORKER, Answering, Records, Work
from secondsight.bulk.deaths import (
    BLAMED,
    CAREFUL_AFTER,
    HOPELESS,
    STARTS,
    WorkerError,
    hopeless,
)
from secondsight.bulk.memory import EATEN, GB


@dataclass(frozen=True)
class Started:
    """A worker has its model."""

    worker: int
    identity: Mapping[str, Any]
    device: str


@dataclass(frozen=True)
class Done:
    """A shard is answered, and its records are kept; those that the work sends are here."""

    worker: int
    shard: int
    rows: int
    failed: tuple[str, ...]
    seconds: float
    records: Records


@dataclass(frozen=True)
class Died:
    """A worker ended over a shard; `why` is for people."""

    worker: int
    shard: int
    why: str


Event = Started | Done | Died


def done(worker: int, shard: int, said: Mapping[str, Any]) -> Done:
    """What a worker said of a shard, as an event."""
    return Done(
        worker, shard, said["rows"], tuple(said["failed"]), said["seconds"], said["records"]
    )


class Workers:
    """Worker processes; a context manager that ends them.

    Args:
        work: The rows.
        starter: Makes what answers.
        count: How many; the processors' cores are split between them.
        memory: The most that each may hold, in bytes; who holds more is ended. None for no limit.
    """

    def __init__(
        self, work: Work, starter: Callable[[], Answering], count: int, memory: int | None = None
    ) -> None:
        plan = base64.b64encode(pickle.dumps((work, starter))).decode()
        self._plan = {"plan": plan, "memory": memory}
        self._count, self._memory = count, memory
        self._answered, self._given_up = False, 0
        self._events: queue.Queue[Event | BaseException | None] = queue.Queue()
        self._left: Iterator[int] = iter(())
        self._taken, self._taking = 0, threading.Lock()
        self._agreed, self._ending = threading.Event(), threading.Event()
        self._processes: dict[int, subprocess.Popen[str]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._agreed.set()
        for number, process in list(self._processes.items()):
            process.kill()
            self._end(number)

    def agree(self) -> None:
        """Let the workers begin: what they answer with is what was asked for."""
        self._agreed.set()

    def run(self, shards: Iterable[int]) -> Iterator[Event]:
        """Have shards answered.

        Args:
            shards: Which; taken one by one as workers are free, the first after `agree`.

        Yields:
            What happens, as it happens.

        Raises:
            WorkerError: A worker cannot go on, for a reason that would meet every one.
        """
        self._left = iter(shards)
        count = min(self._count, len(shards)) if isinstance(shards, Sized) else self._count
        for number in range(count):
            threading.Thread(target=self._serve, args=(number,), daemon=True).start()
        done, all_taken = 0, count == 0
        while not all_taken or done < self._taken:  # who is still loading then is not waited for
            event = self._events.get()
            if event is None:
                all_taken = True
            elif isinstance(event, BaseException):
                raise event
            else:
                done += isinstance(event, Done)
                yield event

    def _serve(self, number: int) -> None:
        try:
            self._process(number)
            while (shard := self._take()) is not None and not self._ending.is_set():
                self._shard(number, shard)
            self._end(number)
            self._events.put(None)
        except BaseException as error:
            if not self._ending.is_set():
                self._events.put(error)

    def _take(self) -> int | None:
        with self._taking:
            shard = next(self._left, None)
            self._taken += shard is not None
            return shard

    def _shard(self, number: int, shard: int) -> None:
        deaths, blamed, skip = 0, Counter[int](), set[int]()
        while not self._ending.is_set():
            process = self._process(number)
            careful = deaths >= CAREFUL_AFTER
            row: int | None = None
            task = {"shard": shard, "careful": careful, "skip": sorted(skip)}
            message = self._tell(process, task)
            while message is not None and "row" in message:
                row = message["row"]
                self._answered |= row > len(skip)
                message = self._hear(process)
            if message is not None and "broke" not in message:
                self._refuse(message)
                self._answered |= message["rows"] > len(message["failed"])
                self._events.put(done(number, shard, message))
                return
            why = self._why(self._end(number), message)
            if self._ending.is_set():
                return
            deaths += 1
            if row is not None:
                blamed[row] += 1
                if blamed[row] == BLAMED:
                    skip.add(row)
                    self._given_up += 1
            self._events.put(Died(number, shard, why))
            if self._given_up >= HOPELESS and not self._answered:
                detail = f"\n{message['traceback']}" if message is not None else ""
                raise hopeless(self._given_up, why + detail)

    def _why(self, code: int, message: Mapping[str, Any] | None) -> str:
        if message is not None:
            return str(message["broke"])
        if code == EATEN and self._memory is not None:
            return f"more than {self._memory / GB:g} GB of memory"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _process(self, number: int) -> subprocess.Popen[str]:
        """A worker's process, with its model loaded."""
        known = self._processes.get(number)
        if known is not None:
            return known
        for _ in range(STARTS):
            process = self._start(number)
            hello = self._tell(process, self._plan)
            if hello is not None:
                self._refuse(hello)
                self._events.put(Started(number, hello["identity"], hello["device"]))
                self._agreed.wait()
                self._send(process, {"agreed": True})
                return process
            self._end(number)
            if self._ending.is_set():
                break
        raise WorkerError(
            "Workers end while they load the model. Is there memory for one per worker? See "
            "'secondsight doctor', and try fewer --workers."
        )

    def _start(self, number: int) -> subprocess.Popen[str]:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = str(max(1, (cores or 1) // self._count))
        process = subprocess.Popen(
            [sys.executable, "-m", "secondsight.bulk.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={"OMP_NUM_THREADS": threads, **os.environ, WORKER: str(number)},
        )
        self._processes[number] = process
        return process

    def _end(self, number: int) -> int:
        """See a worker off: it ends when nothing more can be said to it."""
        process = self._processes.pop(number, None)
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):  # what was not read by a worker that died
            process.stdin.close()
        code = process.wait()
        process.stdout.close()
        return code

    def _tell(self, process: subprocess.Popen[str], task: Mapping[str, Any]) -> Any:
        """Send a worker something and wait for what it says; None if it died."""
        return self._hear(process) if self._send(process, task) else None

    def _send(self, process: subprocess.Popen[str], task: Mapping[str, Any]) -> bool:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
        except OSError:
            return False
        return True

    def _hear(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def _refuse(self, message: Mapping[str, Any]) -> None:
        if "error" in message:
            detail = f"\n{message['traceback']}" if "traceback" in message else ""
            raise WorkerError(f"A worker cannot go on: {message['error']}{detail}")
