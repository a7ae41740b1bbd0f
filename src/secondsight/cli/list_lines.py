"""What a list of images asks: every line checked before anything is answered."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from secondsight.cli.answers import Key
from secondsight.cli.images import STDIN, elsewhere
from secondsight.errors import UserError, nearest
from secondsight.sample import LONGEST_TEXT, Sample

MAX_LINE: Final = 64 * 2**20
"""The longest line of a list, in bytes; an image may stand in it as a data URL."""

_SAME: Final = {"text": "question", "question_id": "id"}
"""The names that LLaVA's question files have for our fields."""

_UNUSED: Final = ("category",)
"""Fields of LLaVA's question files that no answer depends on."""

_FIELDS: Final = ("image", "question", "id", *_SAME, *_UNUSED)


@dataclass(frozen=True)
class Entry:
    """One line of a list: what it asks, and where its images really are."""

    key: Key
    sources: tuple[str, ...]

    @property
    def sample(self) -> Sample:
        """The line as a sample; its images not opened yet."""
        return Sample(self.sources or None, self.key.question, id=self.key.id)


def read_list(path: Path, question: str, folder: Path | None = None) -> list[Entry]:
    """Read a list of images.

    Args:
        path: JSON lines with ``image`` (one, a list, or null) and, optionally, ``question`` and
            ``id``; also LLaVA's, with ``text`` and ``question_id``. ``-`` is standard input.
        question: What is asked where a line has no question.
        folder: Where relative paths start; the list's own folder if left out.

    Raises:
        UserError: The file cannot be read, is empty, or a line is not of this form.
    """
    name = str(path)
    base = folder or (Path() if name == STDIN else path.parent)
    try:
        with _opened(path) as file:
            entries = [
                _entry(line, f"Line {number} of {name!r}", base, question)
                for number, line in _lines(file, name)
            ]
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"The list {name!r} cannot be read: {reason}.") from None
    if not entries:
        raise UserError(f"The list {name!r} is empty.")
    return entries


def named_entries(names: Sequence[str], question: str, *, together: bool) -> list[Entry]:
    """Images named on the command line as the entries of a list.

    Args:
        names: The images; none for a question without one.
        question: What is asked about each, or about all.
        together: Whether they are shown together.

    Raises:
        UserError: One of them is standard input, which a continued run could not read again.
    """
    if STDIN in names:
        raise UserError("Standard input (-) cannot be read again by a continued run. Name a file.")
    asks = [tuple(names)] if together or not names else [(name,) for name in names]
    shown = [(ask if len(ask) > 1 else ask[0] if ask else None) for ask in asks]
    return [Entry(Key(image, question, None), ask) for image, ask in zip(shown, asks, strict=True)]


def remarks(entries: Sequence[Entry]) -> list[str]:
    """What is unusual about a list and is done all the same, in sentences."""
    said = []
    first: dict[Key, int] = {}
    asked: dict[str | int, tuple[int, Key]] = {}
    for number, entry in enumerate(entries, start=1):
        key = entry.key
        if isinstance(key.image, tuple) and len(set(key.image)) < len(key.image):
            said.append(f"Question {number} names an image twice; it is shown twice.")
        if key in first:
            said.append(f"Question {number} is question {first[key]} again; both are answered.")
        elif key.id is not None and asked.get(key.id, (0, key))[1] != key:
            said.append(
                f"Questions {asked[key.id][0]} and {number} differ and have the same id "
                f"{key.id!r}; both are answered."
            )
        first.setdefault(key, number)
        if key.id is not None:
            asked.setdefault(key.id, (number, key))
    return said


def _opened(path: Path) -> BinaryIO:
    if str(path) == STDIN:
        if sys.stdin is None or sys.stdin.isatty():
            raise UserError("No list comes by standard input (-).")
        return sys.stdin.buffer
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise UserError(f"The list {str(path)!r} is no file. Use --list - to read a pipe.")
    return path.open("rb")


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := file.readline(MAX_LINE + 1):
        number += 1
        if len(raw) > MAX_LINE:
            raise UserError(
                f"Line {number} of {name!r} is longer than {MAX_LINE // 2**20} MB: it is no list "
                "of one JSON object a line."
            )
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise UserError(
                f"The list {name!r} cannot be read: its line {number} is not UTF-8 text."
            ) from None
        if line:
            yield number, line


def _entry(line: str, place: str, folder: Path, question: str) -> Entry:
    fields = _fields(line, place)
    image = fields.get("image", "")
    names = image if isinstance(image, list) else [] if image is None else [image]
    if not all(isinstance(name, str) and name for name in names) or image == []:
        raise UserError(
            f'{place} has no image: write {{"image": "path or URL"}}, a list of them for several '
            "together, or null for none."
        )
    asked = fields.get("question", question)
    if not isinstance(asked, str) or not asked.strip():
        raise UserError(f"{place} has an empty question; leave it out to ask the usual one.")
    if len(asked) > LONGEST_TEXT:
        raise UserError(f"{place} has a question of {len(asked):,} characters.")
    named = fields.get("id")
    if isinstance(named, bool) or not isinstance(named, str | int | None):
        raise UserError(f"{place} has an id that is neither text nor a whole number.")
    if any(map(_broken, (*names, asked, named))):
        raise UserError(f"{place} holds half a character (such as \\ud800), which is no text.")
    shown = tuple(names) if isinstance(image, list) else image
    return Entry(Key(shown, asked, named), tuple(_source(name, folder) for name in names))


def _fields(line: str, place: str) -> dict[str, Any]:
    """The line's fields under our names."""
    try:
        found = json.loads(line, object_pairs_hook=lambda pairs: _once(pairs, place))
    except UserError:
        raise
    except RecursionError:
        raise UserError(f"{place} is nested too deeply.") from None
    except ValueError as error:
        raise UserError(f"{place} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise UserError(f'{place} is not a JSON object such as {{"image": "cat.jpg"}}.')
    for name in found:
        if name not in _FIELDS:
            shown = name if len(name) <= 40 else name[:37] + "..."
            raise UserError(f"{place} has the unknown field {shown!r}.{nearest(name, _FIELDS)}")
    for theirs, ours in _SAME.items():
        if theirs in found:
            if ours in found:
                raise UserError(f"{place} has both {ours!r} and {theirs!r}. Leave one out.")
            found[ours] = found[theirs]
    return found


def _once(pairs: list[tuple[str, Any]], place: str) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise UserError(f"{place} has a field twice.")
    return fields


def _broken(text: object) -> bool:
    return isinstance(text, str) and any("\ud800" <= one <= "\udfff" for one in text)


def _source(name: str, folder: Path) -> str:
    if elsewhere(name):
        return name
    path = Path(name)
    try:
        home = name.startswith("~") and not (folder / path).exists()
        return str(folder / (path.expanduser() if home else path))
    except (OSError, ValueError, RuntimeError):  # ~nobody, too long: said when it is opened
        return str(folder / path)
