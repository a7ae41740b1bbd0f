"""A list of images: answered in batches, each finished line kept, continued when run again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from secondsight.answer import Answer
from secondsight.answers_file import AnswersFile
from secondsight.cli.answers import Key, settings_of
from secondsight.cli.output import say, stderr
from secondsight.code_identity import code_hash
from secondsight.errors import ImageError, QuestionError, UserError
from secondsight.sample import Sample
from secondsight.settings import Settings

if TYPE_CHECKING:
    from secondsight.inference import Model
    from secondsight.methods import Method

INTERRUPTED = 130
REASONS_SHOWN = 5


@dataclass(frozen=True)
class Entry:
    """One line of a list: what it asks, and where its images really are."""

    key: Key
    sources: tuple[str, ...]

    @property
    def sample(self) -> Sample:
        """The line as a sample; its images not opened yet."""
        return Sample(self.sources or None, self.key.question, id=self.key.id)


def read_list(path: Path, question: str) -> list[Entry]:
    """Read a list of images, checking every line before anything is answered.

    Args:
        path: JSON lines with ``image`` (one, a list, or null) and, optionally, ``question`` and
            ``id``.
        question: What is asked where a line has no question.

    Raises:
        UserError: The file cannot be read, is empty, or a line is not of this form.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"The list {str(path)!r} cannot be read: {reason}.") from None
    entries = [
        _entry(line, f"Line {number} of {str(path)!r}", path.parent, question)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not entries:
        raise UserError(f"The list {str(path)!r} is empty.")
    return entries


def _entry(line: str, place: str, folder: Path, question: str) -> Entry:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place} is not JSON: {error}.") from None
    image = fields.get("image", "") if isinstance(fields, dict) else ""
    names = image if isinstance(image, list) else [] if image is None else [image]
    if not all(isinstance(name, str) and name for name in names) or image == []:
        raise UserError(
            f'{place} has no image: write {{"image": "path or URL"}}, a list of them for several '
            "together, or null for none."
        )
    asked = fields.get("question", question)
    if not isinstance(asked, str) or not asked.strip():
        raise UserError(f"{place} has an empty question; leave it out to ask the usual one.")
    named = fields.get("id")
    if isinstance(named, bool) or not isinstance(named, str | int | None):
        raise UserError(f"{place} has an id that is neither text nor a whole number.")
    shown = tuple(names) if isinstance(image, list) else image
    return Entry(Key(shown, asked, named), tuple(_source(name, folder) for name in names))


def _source(name: str, folder: Path) -> str:
    url = name.startswith(("http://", "https://"))
    return name if url else str(folder / Path(name).expanduser())


def answer_list(
    model: Model,
    entries: Sequence[Entry],
    answers: AnswersFile[Key],
    method: Method,
    settings: Settings,
    batch_size: int,
) -> int:
    """Answer what is not answered yet, and say on stderr how it went.

    The batches are those of an uninterrupted run: one that was half done is computed whole
    again, so that rounding cannot differ.

    Returns:
        How many images failed.

    Raises:
        UserError: The file's answers were made with other settings, or it cannot be written.
        typer.Exit: Interrupted by the user.
    """
    answers.require(_settings(model, method, settings))
    _refuse_other_question(answers, entries)
    missing = _not_done(entries, answers.done)
    before = len(entries) - len(missing)
    reasons: list[str] = []
    try:
        with _bar() as bar:
            task = bar.add_task("", total=len(entries), completed=before)
            for first in range(0, len(entries), batch_size):
                batch = entries[first : first + batch_size]
                wanted = {place for place in range(len(batch)) if first + place in missing}
                if wanted:
                    records = _records(model, batch, wanted, method, settings)
                    reasons += [record["error"] for record in records if "error" in record]
                    answers.append(records)
                    bar.advance(task, len(records))
    except KeyboardInterrupt:
        say(
            f"Interrupted: {before + answers.answered} of {len(entries)} answers are in "
            f"{answers.path}. Run the same command again to continue."
        )
        raise typer.Exit(INTERRUPTED) from None
    _report(answers, len(entries), before, reasons)
    return len(reasons)


def _records(
    model: Model,
    batch: Sequence[Entry],
    wanted: set[int],
    method: Method,
    settings: Settings,
) -> list[dict[str, Any]]:
    """The lines of the wanted places of a batch."""
    outcomes: list[Answer | UserError | Sample] = []
    for entry in batch:
        try:
            outcomes.append(entry.sample.opened())
        except ImageError as error:
            outcomes.append(error)
    if any(isinstance(outcomes[place], Sample) for place in wanted):
        places = [place for place, one in enumerate(outcomes) if isinstance(one, Sample)]
        samples = [one for one in outcomes if isinstance(one, Sample)]
        for place, answer in zip(places, _answers(model, samples, method, settings), strict=True):
            outcomes[place] = answer
    return [_record(batch[place].key, outcomes[place], method) for place in sorted(wanted)]


def _answers(
    model: Model, samples: Sequence[Sample], method: Method, settings: Settings
) -> list[Answer | UserError]:
    try:
        size = len(samples)
        return [*model.answer_batch(samples, method, batch_size=size, **asdict(settings))]
    except (ImageError, QuestionError) as error:
        if len(samples) == 1:
            return [error]
    # One of them cannot be asked: find it, and answer the others.
    return [one for sample in samples for one in _answers(model, [sample], method, settings)]


def _record(key: Key, outcome: Answer | UserError | Sample, method: Method) -> dict[str, Any]:
    asked = {"image": key.image, "question": key.question, "id": key.id}
    if isinstance(outcome, Answer):
        return {
            **asked,
            "text": outcome.text,
            "finish_reason": outcome.finish_reason,
            "provenance": {
                **outcome.provenance,
                "method": {**outcome.provenance["method"], **_code(method)},
            },
        }
    return {**asked, "error": str(outcome)}


def _not_done(entries: Sequence[Entry], done: Mapping[Key, int]) -> set[int]:
    """Places of the entries without an answer; the same line twice needs two answers."""
    left = Counter(done)
    places = set()
    for place, entry in enumerate(entries):
        if left[entry.key]:
            left[entry.key] -= 1
        else:
            places.add(place)
    return places


def _settings(model: Model, method: Method, settings: Settings) -> dict[str, Any]:
    """What the answers will say of themselves."""
    chosen = asdict(settings)
    return settings_of(
        {
            "model": model.name,
            "revision": model.revision,
            "dtype": str(model.hf_model.dtype).removeprefix("torch."),
            "preset": model.preset.name,
            "method": {"spec": method.spec, **_code(method)},
            "seed": chosen.pop("seed"),
            "settings": {**chosen, "stop": list(settings.stop)},
        }
    )


def _code(method: Method) -> dict[str, Any]:
    """Whose code the method is, where it does not come with secondsight."""
    own: type = type(method)
    code = code_hash(own)
    return {} if code is None else {"code_sha256": code}


def _refuse_other_question(answers: AnswersFile[Key], entries: Sequence[Entry]) -> None:
    """Else a changed ``--question`` would answer a whole list again, into the same file."""
    asked = {(entry.key.image, entry.key.id): entry.key.question for entry in entries}
    here = {entry.key for entry in entries}
    for key in answers.done:
        other = asked.get((key.image, key.id))
        if key not in here and other is not None:
            raise UserError(
                f"{str(answers.path)!r} has answers to another question about {key.image!r}: "
                f"{key.question!r} there, {other!r} here. Choose another --out."
            )


def _report(answers: AnswersFile[Key], total: int, before: int, reasons: Sequence[str]) -> None:
    kept = f" ({before} from before)" if before else ""
    say(f"{total - len(reasons)} of {total} answered{kept}: {answers.path}")
    if reasons:
        for reason in reasons[:REASONS_SHOWN]:
            say(f"  {reason}")
        if len(reasons) > REASONS_SHOWN:
            say(f"  and {len(reasons) - REASONS_SHOWN} more")
        say(
            f"{len(reasons)} failed; the file has their reasons. Run the same command again to "
            "try them again."
        )


class _Rate(ProgressColumn):
    """Answers per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2g}/s" if task.speed else "")


def _bar() -> Progress:
    console = stderr()
    return Progress(
        TextColumn("answers"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
