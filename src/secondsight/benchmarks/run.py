"""The folder of a run: what was asked for, and the answers so far.

``manifest.json`` says what the run is; ``answers.jsonl`` grows by one line per question, method
and seed. A run that was killed at any moment goes on from its last whole line; a run of another
configuration is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from secondsight.errors import DataError, UserError
from secondsight.files import PathLike, read_json, write_atomic

Key = tuple[str, int, str]

MANIFEST, ANSWERS = "manifest.json", "answers.jsonl"
SCORES, REPORT_MD, REPORT_HTML = "scores.json", "report.md", "report.html"
_LOCK = ".lock"


class RunMismatchError(UserError):
    """The folder holds a run of another configuration."""


class Run:
    """A run's folder, opened for going on by this process alone; a context manager.

    Args:
        folder: The folder; made if absent.
        config: What the answers depend on; must equal that of a run already there.
        environment: What they do not depend on (machine, batch size); kept as first written.

    Raises:
        RunMismatchError: If the folder holds a run with another `config`.
        DataError: If a file there is damaged other than by a half-written last line.
        UserError: If the folder cannot be written, or another process is writing it.
    """

    def __init__(
        self, folder: PathLike, config: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> None:
        self.folder = Path(folder)
        # As JSON has it, so that tuples and lists, 1 and 1.0 compare as they will be read back.
        self.config = json.loads(json.dumps(config))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as held:
                # The system lets go of the lock when a process ends, however it ends.
                held.enter_context(FileLock(self.folder / _LOCK).acquire(timeout=0))
                self._claim(environment)
                _drop_half_line(self.folder / ANSWERS)
                self.answers: dict[Key, dict[str, Any]] = dict(_read(self.folder / ANSWERS))
                self._held = held.pop_all()
        except Timeout:
            raise UserError(
                f"{self.folder}: another process is writing this run; wait for it, or choose "
                "another --out"
            ) from None
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror})") from None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def _claim(self, environment: Mapping[str, Any]) -> None:
        path = self.folder / MANIFEST
        if path.exists():
            manifest = read_json(path)
            there = manifest.get("config") if isinstance(manifest, dict) else None
            differing = list(_differences(there, self.config))
            if differing:
                raise RunMismatchError(
                    f"{self.folder} holds another run, which differs in "
                    + "; ".join(differing)
                    + ". Choose another --out, or repeat that run's settings to continue it."
                )
            return
        if (self.folder / ANSWERS).exists():
            raise DataError(f"{self.folder}: has answers but no {MANIFEST}; choose another --out")
        manifest = {"format": 1, "config": self.config, "environment": dict(environment)}
        write_atomic(path, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")

    def append(self, lines: Iterable[tuple[Key, Mapping[str, Any]]]) -> None:
        """Adds finished answers that are not there yet, each flushed as a whole line."""
        with (self.folder / ANSWERS).open("a", encoding="utf-8", newline="\n") as stream:
            for key, answer in lines:
                if key not in self.answers:
                    self.answers[key] = dict(answer)
                    _write_line(stream, key, answer)

    def texts(
        self, methods: Iterable[str], seeds: Iterable[int], items: Iterable[str]
    ) -> dict[str, dict[int, list[str]]]:
        """The answers' texts by method and seed, in the order of the items."""
        seeds, items = list(seeds), list(items)
        return {
            method: {seed: [self.answers[method, seed, i]["text"] for i in items] for seed in seeds}
            for method in methods
        }

    def write(self, name: str, text: str) -> None:
        """Writes one of the run's other files, whole or not at all."""
        write_atomic(self.folder / name, text)


def _write_line(stream: TextIO, key: Key, answer: Mapping[str, Any]) -> None:
    method, seed, identifier = key
    line = {"method": method, "seed": seed, "id": identifier, **answer}
    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    stream.flush()


def _drop_half_line(path: Path) -> None:
    """Cuts off what a killed run wrote after its last whole line."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as stream:
            stream.truncate(whole)


def _read(path: Path) -> Iterable[tuple[Key, dict[str, Any]]]:
    if not path.exists():
        return
    for number, line in enumerate(path.read_text("utf-8").split("\n")[:-1], start=1):
        try:
            entry = json.loads(line)
            key = (entry.pop("method"), entry.pop("seed"), entry.pop("id"))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise DataError(
                f"{path}:{number}: damaged; remove this line to have its answer made again"
            ) from None
        yield key, entry


def _differences(there: Any, here: Any, name: str = "") -> Iterable[str]:
    """The settings that differ, each with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys((*there, *here)):
            inner = f"{name}.{key}" if name else str(key)
            yield from _differences(there.get(key), here.get(key), inner)
    elif there != here:
        yield f"{name or 'everything'} ({_short(there)} there, {_short(here)} here)"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
