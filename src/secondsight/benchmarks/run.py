"""The folder of a run: what its answers were made with, and the answers so far.

``manifest.json`` says what all answers have in common; ``answers.jsonl`` grows by one line per
question, method and seed, each of which says it too. Another method, seed, limit, parser or
synonym file goes on with what is there; another model, preset, dataset or setting is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from secondsight.answers_file import AnswerLines, AnswersFile, differences
from secondsight.benchmarks.answer_files import ANSWERS
from secondsight.benchmarks.task import Item, Response
from secondsight.errors import DataError, UserError
from secondsight.files import PathLike, read_json, write_atomic

MANIFEST: Final = "manifest.json"
_FORMAT: Final = 2
_PARTS: Final = ("format", "config", "methods", "environment")
_SHOWN: Final = 10
_IN_EACH_LINE: Final = ("model", "weights", "dtype", "preset", "settings")


class RunMismatchError(UserError):
    """The folder holds answers that were made in another way."""


class Key(NamedTuple):
    """What a line answers."""

    method: str
    seed: int
    id: str


@dataclass(frozen=True)
class Given:
    """An answer that is there.

    Attributes:
        text: The answer.
        tokens: How many tokens it has.
        finish_reason: Why it ended.
    """

    text: str
    tokens: int
    finish_reason: str


class Run:
    """A run's folder, opened for going on by this process alone; a context manager.

    Args:
        folder: The folder; made if absent.
        config: What all answers are made with; must equal that of the answers already there.
        environment: What they do not depend on (machine, batch size); kept as first written.

    Attributes:
        answers: The answers so far.

    Raises:
        RunMismatchError: The folder holds answers made with another `config`.
        DataError: A file there is damaged other than by a half-written last line.
        UserError: The folder cannot be written, or another process is writing it.
    """

    def __init__(
        self, folder: PathLike, config: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> None:
        self.folder = Path(folder)
        # As JSON has it, so that tuples and lists, 1 and 1.0 compare as they will be read back.
        self.config = json.loads(json.dumps(config))
        self._common = {name: self.config[name] for name in _IN_EACH_LINE}
        lines = AnswerLines(
            of="this run",
            beginning=b'{"method": ',
            key=lambda record: Key(record["method"], record["seed"], record["id"]),
            identity=lambda record: {name: record[name] for name in _IN_EACH_LINE},
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror})") from None
        with ExitStack() as held:
            self._file = held.enter_context(AnswersFile(self.folder / ANSWERS, lines))
            self.manifest = self._claim(environment)
            self._file.require(self._common)
            self.answers: dict[Key, Given] = {}
            self._items: dict[str, str] = {}
            for record in self._file.records():
                self._keep(record)
            self._held = held.pop_all()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def _claim(self, environment: Mapping[str, Any]) -> dict[str, Any]:
        path = self.folder / MANIFEST
        if path.exists():
            manifest = read_json(path)
            if not _is_manifest(manifest):
                raise RunMismatchError(
                    f"{self.folder} holds a run of another version of secondsight, or none. "
                    "Choose another --out."
                )
            self._refuse(differences(manifest["config"], self.config))
            return {name: manifest[name] for name in _PARTS}
        if self._file.done:
            raise DataError(f"{self.folder}: has answers but no {MANIFEST}; choose another --out")
        return {
            "format": _FORMAT,
            "config": self.config,
            "methods": {},
            "environment": dict(environment),
        }

    def _refuse(self, differing: Iterable[str]) -> None:
        named = list(islice(differing, _SHOWN))
        if named:
            raise RunMismatchError(
                f"{self.folder} holds another run, which differs in {'; '.join(named)}. Choose "
                "another --out, or repeat that run's settings to continue it."
            )

    def _keep(self, record: Mapping[str, Any]) -> None:
        key = Key(record["method"], record["seed"], record["id"])
        try:
            self.answers.setdefault(
                key, Given(record["text"], record["tokens"], record["finish_reason"])
            )
            item = self._items.setdefault(key.id, record["item"])
        except KeyError as error:
            raise DataError(
                f"{self.folder / ANSWERS}: the answer to {key.id} lacks {error}; remove its line "
                "to have it made again"
            ) from None
        if item != record["item"]:
            raise RunMismatchError(
                f"{self.folder / ANSWERS}: has answers to two different items called {key.id}"
            )

    def declare(self, methods: Mapping[str, Mapping[str, Any]], items: Mapping[str, str]) -> None:
        """Say what is going to be answered, before it is.

        Args:
            methods: The methods by canonical name, with all their parameters and the hash of
                code that is not ours.
            items: The items by id, with the hash of question and image.

        Raises:
            RunMismatchError: A method of that name, or an item of that id, was another one when
                answers in the folder were made.
        """
        known, here = self.manifest["methods"], json.loads(json.dumps(methods))
        self._refuse(
            text
            for name, method in here.items()
            if name in known
            for text in differences(known[name], method, f"methods.{name}")
        )
        other = [i for i, digest in items.items() if self._items.get(i, digest) != digest]
        if other:
            raise RunMismatchError(
                f"{self.folder} has answers to {len(other)} other questions or images of the "
                f"same names, such as {other[0]!r}. Choose another --out."
            )
        self.manifest = {**self.manifest, "methods": {**known, **here}}
        self.write(MANIFEST, json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n")

    def append(self, lines: Iterable[tuple[Key, Item, str, Given]]) -> None:
        """Adds finished answers that are not there yet, each flushed as a whole line.

        Args:
            lines: For each what it answers, the item, the item's hash, and the answer.
        """
        new = {key: (item, digest, given) for key, item, digest, given in lines}
        left = {key: found for key, found in new.items() if key not in self.answers}
        self._file.append(
            {
                **key._asdict(),
                "image_id": item.image_id,
                "question": item.question,
                "item": digest,
                **self._common,
                "text": given.text,
                "tokens": given.tokens,
                "finish_reason": given.finish_reason,
            }
            for key, (item, digest, given) in left.items()
        )
        self.answers.update({key: given for key, (_, _, given) in left.items()})

    def responses(
        self, methods: Iterable[str], seeds: Sequence[int], items: Sequence[Item]
    ) -> dict[str, dict[int, list[Response]]]:
        """The answers by method and seed, in the order of the items."""
        return {
            method: {seed: [self._response(method, seed, i.id) for i in items] for seed in seeds}
            for method in methods
        }

    def _response(self, method: str, seed: int, item: str) -> Response:
        given = self.answers[Key(method, seed, item)]
        return Response(given.text, given.finish_reason)

    def write(self, name: str, text: str) -> None:
        """Writes one of the run's other files, whole or not at all."""
        write_atomic(self.folder / name, text)


def _is_manifest(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and document.get("format") == _FORMAT
        and all(isinstance(document.get(name), dict) for name in _PARTS if name != "format")
    )
