"""The file that a list run appends its answers to, and finds them in when it goes on."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

from secondsight.errors import UserError

BEGINNING: Final = b'{"image": '
"""How each of our lines begins: a half-written one is cut off, anything else is not ours."""


class Key(NamedTuple):
    """What a line of a list asks: the same key means the same answer."""

    image: str | tuple[str, ...] | None
    question: str
    id: str | int | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Key:
        """What a line of the answers file was asked."""
        image = record["image"]
        name = tuple(image) if isinstance(image, list) else image
        return cls(name, record["question"], record["id"])


class AnswersFile:
    """JSON lines of answers, opened for going on; a context manager.

    Lines of images that failed are left out when it is opened, so that they are tried again;
    a half-written last line is cut off. Nothing else in the file changes but by appending.

    Args:
        path: The file; made if absent, and removed again if nothing came of it.

    Attributes:
        done: How often each key is answered in the file.
        made_with: The different settings that its answers were made with.

    Raises:
        UserError: The file cannot be written, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: Counter[Key] = Counter()
        self.made_with: list[dict[str, Any]] = []
        self.written = 0
        existed = path.exists()
        try:
            # Not truncating, and written through at once: what is finished is in the file.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from None
        self._regular = path.is_file()
        self._new = self._regular and not existed
        if self._regular:
            try:
                self._continue()
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> AnswersFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if self._new and self.path.stat().st_size == 0:
            self.path.unlink()

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add finished lines, each whole or not at all.

        Raises:
            UserError: The disk is full, or the file cannot be written for another reason.
        """
        for record in records:
            line = json.dumps(record, ensure_ascii=False) + "\n"
            self._write(line.encode())
            self.written += 1
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(self._file.fileno())

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

    def _continue(self) -> None:
        """Learn what is done, cut off a half line, leave out what failed."""
        failed = False
        whole = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    if not (line.startswith(BEGINNING) or BEGINNING.startswith(line)):
                        raise self._foreign(number)
                    break
                whole += len(line)
                record = self._read(line, number)
                if "error" in record:
                    failed = True
                else:
                    self._note(record, number)
        try:
            os.truncate(self._file.fileno(), whole)
            if failed:
                self._leave_out_failed()
        except OSError as error:
            raise self._unwritable(error) from None

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            raise self._foreign(number) from None
        if not isinstance(record, dict) or not ({"text", "error"} & record.keys()):
            raise self._foreign(number)
        return record

    def _note(self, record: Mapping[str, Any], number: int) -> None:
        try:
            self.done[Key.of(record)] += 1
            made = settings_of(record["provenance"])
        except (KeyError, TypeError):
            raise self._foreign(number) from None
        if made not in self.made_with:
            self.made_with.append(made)

    def _leave_out_failed(self) -> None:
        """Write the file anew beside the old one and put it in its place."""
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as copy, self.path.open("rb") as lines:
                copy.writelines(line for line in lines if "error" not in json.loads(line))
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
        kept = f" {self.written} new lines are in it; run again to continue." * bool(self.written)
        return UserError(f"{str(self.path)!r} cannot be written: {error.strerror}.{kept}")

    def _foreign(self, number: int) -> UserError:
        return UserError(
            f"Line {number} of {str(self.path)!r} is not an answer of a list run. Choose another "
            "--out, or remove the line if it is damaged."
        )


def settings_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer depends on besides image and question, by name."""
    return {
        "model": provenance["model"],
        "revision": provenance["revision"],
        "dtype": provenance["dtype"],
        "preset": provenance["preset"],
        "method": provenance["method"]["spec"],
        "seed": provenance["seed"],
        **provenance["settings"],
    }
