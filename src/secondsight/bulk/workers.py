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
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secondsight.bulk.answering import Starter
from secondsight.bulk.deaths import BLAMED, CAREFUL_AFTER, STARTS
from secondsight.errors import UserError


@dataclass(frozen=True)
class Started:
    """A worker has its model."""

    worker: int
    identity: Mapping[str, Any]
    device: str


@dataclass(frozen=True)
class Done:
    """A shard is answered and written."""

    worker: int
    shard: int
    rows: int
    failed: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Died:
    """A worker ended over a shard."""

    worker: int
    shard: int
    code: int


Event = Started | Done | Died


class WorkerError(UserError):
    """A worker cannot do what it is for: its model does not load, the disk is full."""


class Workers:
    """Worker processes; a context manager that ends them.

    Args:
        folder: The run's folder.
        starter: Makes what answers.
        count: How many; the processors' cores are split between them.
    """

    def __init__(self, folder: Path, starter: Starter, count: int) -> None:
        self._folder, self._starter, self._count = folder, starter, count
        self._events: queue.Queue[Event | BaseException | None] = queue.Queue()
        self._left: deque[int] = deque()
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
        """Have shards answered; no shard begins before `agree`.

        Yields:
            What happens, as it happens.

        Raises:
            WorkerError: A worker cannot go on, for a reason that would meet every one.
        """
        self._left.extend(shards)
        count = min(self._count, len(self._left))
        for number in range(count):
            threading.Thread(target=self._serve, args=(number,), daemon=True).start()
        while count:
            event = self._events.get()
            if event is None:
                count -= 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event

    def _serve(self, number: int) -> None:
        try:
            while self._left and not self._ending.is_set():
                try:
                    shard = self._left.popleft()
                except IndexError:  # another worker took the last one
                    break
                self._shard(number, shard)
            self._end(number)
            self._events.put(None)
        except BaseException as error:
            if not self._ending.is_set():
                self._events.put(error)

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
                message = self._hear(process)
            if message is not None:
                self._refuse(message)
                failed = tuple(message["failed"])
                self._events.put(Done(number, shard, message["rows"], failed, message["seconds"]))
                return
            code = self._end(number)
            if self._ending.is_set():
                return
            deaths += 1
            if row is not None:
                blamed[row] += 1
                skip |= {one for one, times in blamed.items() if times >= BLAMED}
            self._events.put(Died(number, shard, code))

    def _process(self, number: int) -> subprocess.Popen[str]:
        """A worker's process, with its model loaded."""
        known = self._processes.get(number)
        if known is not None:
            return known
        for _ in range(STARTS):
            process = self._start(number)
            starter = base64.b64encode(pickle.dumps(self._starter)).decode()
            hello = self._tell(process, {"folder": str(self._folder), "starter": starter})
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
            env={"OMP_NUM_THREADS": threads, **os.environ, "SECONDSIGHT_WORKER": str(number)},
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
