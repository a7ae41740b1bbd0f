"""A worker: a process with a model of its own that answers shards, one after the other.

It is told what to do by lines of JSON on its standard input, and says by lines on its standard
output how it went. When its input ends, it ends, whatever it is at: the driver is gone.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, TextIO

from secondsight.bulk.answering import Answering, Records, Work
from secondsight.bulk.deaths import given_up
from secondsight.bulk.memory import watch_memory
from secondsight.bulk.rows import Row
from secondsight.errors import UserError


class Worker:
    """Answers shards of a run.

    Args:
        work: The rows.
        answering: Answers them.
        say: Called with what happens.
    """

    def __init__(self, work: Work, answering: Answering, say: Any) -> None:
        self._work, self._answering, self._say = work, answering, say

    def shard(self, number: int, *, careful: bool = False, skip: tuple[int, ...] = ()) -> None:
        """Answer a shard and keep its records.

        Args:
            number: The shard.
            careful: Whether to answer rows one by one, naming each before it is touched.
            skip: Places of rows that ended a worker.
        """
        start = time.perf_counter()
        if not careful:
            self.keep(number, self._answering(self.rows(number)), start)
            return
        records: Records = []
        for place, row in enumerate(self.rows(number)):
            if place in skip:
                records.append(given_up(row))
            else:
                self._say({"row": place})
                records += self._answering([row])
        self.keep(number, records, start)

    def rows(self, number: int) -> Sequence[Row]:
        """The rows of a shard."""
        return self._work.rows(number)

    def row(self, number: int, place: int) -> Records:
        """Answer one row of a shard by itself."""
        return self._answering([self.rows(number)[place]])

    def keep(self, number: int, records: Records, start: float | None = None) -> None:
        """Keep a shard's records, and say how its rows went."""
        kept = self._work.keep(number, records)
        failed = [str(record["error"]) for record in records if "error" in record]
        seconds = 0.0 if start is None else time.perf_counter() - start
        count = len(records)
        self._say({"rows": count, "failed": failed, "seconds": seconds, "records": kept})


def main() -> None:
    """Read what to do, and do it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends its workers itself
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no message
    asked = _listening(sys.stdin)

    def say(message: dict[str, Any]) -> None:
        said.write(json.dumps(message) + "\n")
        said.flush()

    begun = False
    try:
        plan = asked.get()
        watch_memory(plan["memory"])
        work, starter = pickle.loads(base64.b64decode(plan["plan"]))
        answering: Answering = starter()
        say({"identity": dict(answering.identity), "device": answering.device})
        asked.get()  # the driver agrees
        worker = Worker(work, answering, say)
        begun = True
        while True:
            task = asked.get()
            worker.shard(task["shard"], careful=task["careful"], skip=tuple(task["skip"]))
    except UserError as error:
        say({"error": str(error)})
    except BaseException as error:  # over a row it is that row's: as if the process had died
        kind = "broke" if begun else "error"
        say({kind: f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})
    said.flush()
    os._exit(1)


def _listening(stream: TextIO) -> queue.Queue[dict[str, Any]]:
    asked: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in stream:
            asked.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    return asked


if __name__ == "__main__":
    main()
