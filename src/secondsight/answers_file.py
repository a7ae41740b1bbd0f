"""A file of answers that grows by whole lines, and is found again by a run that goes on.

One JSON object a line. Whatever happens to a process that writes it, what stands in the file is
whole lines, but for the last one, which is cut off when the file is opened next. Only one process
at a time has it open for writing.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from filelock import FileLock, Timeout

from secondsight.errors import UserError

Record = Mapping[str, Any]
K = TypeVar("K", bound=Hashable)

_SYNC_EVERY: Final = 1.0
"""Seconds: a power cut costs at most the answers of this time."""


_LONGEST_NAME: Final = 120


class OtherAnswersError(UserError):
    """The file holds answers that were made in another way than those that are to be added."""


@dataclass(frozen=True)
class AnswerLines(Generic[K]):
    """What the lines of a file of answers are.

    Attributes:
        of: What writes them, for messages: ``a list run``.
        beginning: How each line begins. A half-written last line that begins so is cut off; a
            file with anything else in it is not ours and stays as it is.
        key: What a line answers; the same key means the same question. Raises `KeyError` or
            `TypeError` for a line that is not of this kind.
        identity: What its answer was made with, by name (model, settings, ...); raises likewise.
        again: Whether a line is left out when the file is opened, so that it is tried again.
    """

    of: str
    beginning: bytes
    key: Callable[[Record], K]
    identity: Callable[[Record], Mapping[str, Any]]
    again: Callable[[Record], bool] = lambda record: "error" in record


class AnswersFile(Generic[K]):
    """A file of answers, opened for going on by this process alone; a context manager.

    Args:
        path: The file; made if absent, and removed again if nothing came of it. A device or pipe
            is written to, without anything being read, locked or repaired.
        lines: What its lines are.
        sync_every: Seconds between two requests to the system to put what is written on the disk;
            another is made at the end. 0 asks after every `append`.

    Attributes:
        done: How often each key is answered in the file.
        made_with: The different identities of the answers in it.
        answered: How many answers were added.
        failed: How many lines were added that are to be tried again.

    Raises:
        UserError: The file cannot be written, holds something else, or another process has it.
    """

    def __init__(
        self, path: Path, lines: AnswerLines[K], *, sync_every: float = _SYNC_EVERY
    ) -> None:
        self.path = path
        self.lines = lines
        self.done: Counter[K] = Counter()
        self.made_with: list[dict[str, Any]] = []
        self.answered = self.failed = 0
        self._sync_every, self._synced = sync_every, time.monotonic()
        existed = path.exists()
        with ExitStack() as held:
            try:
                # Not truncating, and written through at once: what is finished is in the file.
                self._file = path.open("ab", buffering=0)
            except OSError as error:
                raise self._unwritable(error) from None
            held.callback(lambda: self._file.close())
            self._regular = path.is_file()
            self._new = self._regular and not existed
            self._whole, self._retried = 0, False
            self._repaired = not self._regular
            if self._regular:
                held.enter_context(self._locked())
                self._continue()
            self._held = held.pop_all()

    def __enter__(self) -> AnswersFile[K]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._held:
            self._sync()
            if self._new and self.path.stat().st_size == 0:
                self.path.unlink()

    def records(self) -> Iterator[dict[str, Any]]:
        """What stands in the file, line by line, without what is to be tried again or was."""
        if self._regular:
            with self.path.open("rb") as lines:
                for line in lines:
                    if line.endswith(b"\n"):
                        record = json.loads(line)
                        if self._repaired or not self.lines.again(record):
                            yield record

    def require(self, identity: Mapping[str, Any]) -> None:
        """Refuse to add answers to those that were made with something else.

        Args:
            identity: What the new answers will be made with, as `AnswerLines.identity` has it.

        Raises:
            OtherAnswersError: Answers in the file differ in it; the message names how.
        """
        here = json.loads(json.dumps(identity))
        for there in self.made_with:
            differing = list(differences(there, here))
            if differing:
                raise OtherAnswersError(
                    f"{str(self.path)!r} has answers made with other settings: "
                    f"{', '.join(differing)}. Choose another --out, or repeat those settings."
                )

    def append(self, records: Iterable[Record]) -> None:
        """Add finished lines, each whole or not at all.

        The first time, a half line at the end is cut off, and lines that are to be tried again are
        left out; until then the file is as it was, in case it is refused.

        Raises:
            UserError: The disk is full, or the file cannot be written for another reason.
        """
        for record in records:
            self._repair()
            again = self.lines.again(record)
            self._write(_line(record))
            if again:
                self.failed += 1
            else:
                self.answered += 1
        if time.monotonic() - self._synced >= self._sync_every:
            self._sync()

    def _write(self, line: bytes) -> None:
        start = os.fstat(self._file.fileno()).st_size
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException as error:
            if self._regular and rest:
                with contextlib.suppress(OSError):
                    os.truncate(self._file.fileno(), start)
            if isinstance(error, OSError):
                raise self._unwritable(error) from None
            raise

    def _sync(self) -> None:
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def _locked(self) -> AbstractContextManager[Any]:
        # Beside the file, because a lock on the file itself keeps others from reading it on
        # Windows. The system lets go of it when a process ends, however it ends.
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{str(self.path)!r}: another process is writing it. Wait for that one, or choose "
                "another --out."
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None

    def _continue(self) -> None:
        """Learn what is done; nothing is changed yet."""
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    beginning = self.lines.beginning
                    if not (line.startswith(beginning) or beginning.startswith(line)):
                        raise self._foreign(number)
                    break
                self._whole += len(line)
                record = self._read(line, number)
                if self.lines.again(record):
                    self._retried = True
                else:
                    self._note(record, number)

    def _repair(self) -> None:
        """Cut off a half line, leave out what is tried again; once, before the first new line."""
        if self._repaired:
            return
        self._repaired = True
        try:
            os.truncate(self._file.fileno(), self._whole)
            if self._retried:
                self._leave_out()
        except OSError as error:
            raise self._unwritable(error) from None

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise self._foreign(number) from None
        if not isinstance(record, dict) or not ({"text", "error"} & record.keys()):
            raise self._foreign(number)
        return record

    def _note(self, record: Record, number: int) -> None:
        try:
            self.done[self.lines.key(record)] += 1
            made = dict(self.lines.identity(record))
        except (KeyError, TypeError, AttributeError):
            raise self._foreign(number) from None
        if made not in self.made_with:
            self.made_with.append(made)

    def _leave_out(self) -> None:
        """Write the file anew beside the old one and put it in its place."""
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as copy, self.path.open("rb") as lines:
                copy.writelines(line for line in lines if not self.lines.again(json.loads(line)))
                copy.flush()
                os.fsync(copy.fileno())
            Path(name).chmod(self.path.stat().st_mode & 0o777)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._file.close()
        self._file = self.path.open("ab", buffering=0)

    def _unwritable(self, error: OSError) -> UserError:
        written = self.answered + self.failed
        kept = f" {written} new lines are in it; run again to continue." * bool(written)
        return UserError(f"{str(self.path)!r} cannot be written: {error.strerror}.{kept}")

    def _foreign(self, number: int) -> UserError:
        return UserError(
            f"Line {number} of {str(self.path)!r} is not an answer of {self.lines.of}. Choose "
            "another --out, or remove the line if it is damaged."
        )


def _line(record: Record) -> bytes:
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        return (json.dumps(record) + "\n").encode()


def differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """The settings that differ, each with both values: ``seed (0 there, 3 here)``.

    Args:
        there: What was found, JSON-ready.
        here: What is asked for, JSON-ready.
        name: Where in the two this is.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys((*there, *here)):
            inner = f"{name}.{key}"[:_LONGEST_NAME] if name else str(key)[:_LONGEST_NAME]
            yield from differences(there.get(key), here.get(key), inner)
    elif there != here:
        yield f"{name or 'everything'} ({_short(there)} there, {_short(here)} here)"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
