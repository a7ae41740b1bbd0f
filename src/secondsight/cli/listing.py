"""A list of images: answered together, each finished line kept, continued when run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from secondsight.answer import Answer
from secondsight.answers_file import AnswersFile
from secondsight.blocks import return_large_blocks
from secondsight.cli.answers import Key, settings_of
from secondsight.cli.interrupts import EXIT_CODE
from secondsight.cli.list_lines import Entry, remarks
from secondsight.cli.output import say
from secondsight.cli.progress import progress
from secondsight.errors import UserError
from secondsight.inference.provenance import identity_of
from secondsight.request import Request
from secondsight.settings import Settings

if TYPE_CHECKING:
    from secondsight.inference import Model
    from secondsight.methods import Method

SHOWN: Final = 5
"""How many reasons and remarks are written out."""

_BATCHES: Final = 4
"""How many batches' worth of questions are handed to the engine together: enough for it to fill the
places of those that end early; what a continued run computes again at the most."""


def answer_list(
    model: Model,
    entries: Sequence[Entry],
    answers: AnswersFile[Key],
    method: Method,
    settings: Settings,
    batch_size: int,
) -> int:
    """Answer what is not answered yet, and say on stderr how it went.

    The questions that the engine gets together are those of an uninterrupted run: where some of
    them are answered already, all are computed again, so that rounding cannot differ.

    Returns:
        How many questions failed.

    Raises:
        UserError: The file's answers were made with other settings, or it cannot be written.
        typer.Exit: Interrupted by the user.
    """
    return_large_blocks()
    answers.require(_settings(model, method, settings))
    _refuse_other_question(answers, entries)
    _say_some(remarks(entries))
    if len({entry.sources for entry in entries}) == len(entries):
        model.prefixes.capacity = 0  # no image comes again: nothing of it need be kept
    missing = _not_done(entries, answers.done)
    before = len(entries) - len(missing)
    reasons: list[str] = []
    try:
        with progress(len(entries), before) as advance:
            for first in range(0, len(entries), _BATCHES * batch_size):
                group = range(first, min(first + _BATCHES * batch_size, len(entries)))
                if missing.isdisjoint(group):
                    continue
                requests = [Request(entries[place].sample, method, settings) for place in group]
                for place, outcome in _in_order(model, requests, batch_size, first):
                    if place not in missing:
                        continue
                    answers.append([_record(entries[place].key, outcome, method, model)])
                    if not isinstance(outcome, Answer):
                        reasons.append(str(outcome))
                    advance(1)
    except KeyboardInterrupt:
        say(
            f"Interrupted: {before + answers.answered} of {len(entries)} answers are in "
            f"{answers.path}. Run the same command again to continue."
        )
        raise typer.Exit(EXIT_CODE) from None
    _report(answers, len(entries), before, reasons)
    return len(reasons)


def _in_order(
    model: Model, requests: Sequence[Request], batch_size: int, first: int
) -> Iterator[tuple[int, Answer | UserError]]:
    """The outcomes in the list's order, each as soon as those before it are there."""
    waiting: dict[int, Answer | UserError] = {}
    following = 0
    for number, outcome in model.outcomes(requests, batch_size=batch_size):
        waiting[number] = outcome
        while following in waiting:
            yield first + following, waiting.pop(following)
            following += 1


def _record(key: Key, outcome: Answer | UserError, method: Method, model: Model) -> dict[str, Any]:
    asked = {"image": key.image, "question": key.question, "id": key.id}
    if isinstance(outcome, Answer):
        return {
            **asked,
            "text": outcome.text,
            "finish_reason": outcome.finish_reason,
            **outcome.checked(),
            "provenance": {
                **outcome.provenance,
                "weights": model.identity,
                "method": {
                    **outcome.provenance["method"],
                    **identity_of(method, model.calibrations),
                },
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
    chosen = settings.recorded()
    return settings_of(
        {
            "model": model.name,
            "revision": model.revision,
            "weights": model.identity,
            "dtype": str(model.hf_model.dtype).removeprefix("torch."),
            "preset": model.preset.name,
            "method": {"spec": method.spec, **identity_of(method, model.calibrations)},
            "seed": chosen.pop("seed"),
            "settings": chosen,
        }
    )


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
    say(f"{before + answers.answered} of {total} answered{kept}: {answers.path}")
    if reasons:
        _say_some(reasons)
        say(
            f"{len(reasons)} failed; the file has their reasons. Run the same command again to "
            "try them again."
        )


def _say_some(sentences: Sequence[str]) -> None:
    for sentence in sentences[:SHOWN]:
        say(f"  {sentence}")
    if len(sentences) > SHOWN:
        say(f"  and {len(sentences) - SHOWN} more")
