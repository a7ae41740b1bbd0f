"""Reading files of answers: ours, the benchmarks' own, LLaVA's, lmms-eval's and VLMEvalKit's.

What a record's fields mean is not the same everywhere: ``answer`` is the reply in one file and the
truth in another, and ``text`` may be the question. It is found out from the items' own questions
and labels; where that leaves a doubt, the file is refused, with the fields and a conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secondsight.benchmarks.matching import match, plain
from secondsight.benchmarks.records import Problems, Record, kind_of, read_records
from secondsight.benchmarks.task import Item, Response, Task
from secondsight.errors import DataError
from secondsight.files import PathLike

ANSWERS: Final = "answers.jsonl"
"""The answers in the folder of a run of ours."""

_LOGGED: Final = ("filtered_resps", "resps")
"""Lists in which lmms-eval logs the reply, the one that it scores first."""

_REPLIES: Final = (
    *_LOGGED, "prediction", "response", "caption", "text", "answer", "output", "pred",
    "model_answer", "model_prediction", "reply", "generated_text",
)  # fmt: skip
"""Fields that hold a reply, somewhere."""

_TRUTH: Final = "answer"
"""The one of them that holds the truth elsewhere."""


@dataclass(frozen=True)
class AnswerSet:
    """The answers of one method with one seed.

    Attributes:
        method: The method, where the file says it.
        seed: The seed, where the file says it.
        responses: The answers by item.
        notes: How the file was read, where that is worth knowing.
    """

    method: str | None
    seed: int | None
    responses: Mapping[str, Response]
    notes: tuple[str, ...] = ()


def read_answers(path: PathLike, task: Task, problems: Problems) -> tuple[AnswerSet, ...]:
    """Reads answers to a task's items.

    Args:
        path: The file, or the folder of a run of ours.
        task: The task.
        problems: Receives unknown and repeated ids (the first one counts), records that answer
            another question, gaps and malformed lines.

    Returns:
        The answers of each method and seed, in the order in which the file names them first.

    Raises:
        DataError: If the file is unreadable, or nothing says how it is meant.
    """
    file = Path(path)
    if file.is_dir():
        file = file / ANSWERS
    runs: dict[tuple[str | None, int | None], list[Record]] = {}
    for record in read_records(file, problems):
        if record.data.get("error") is not None and record.data.get("text") is None:
            problems.add("failed answer", f"{record.where}: failed: {record.data['error']!s:.200}")
        else:
            runs.setdefault(_run_of(record), []).append(record)
    return tuple(_one_run(run, records, task, str(file), problems) for run, records in runs.items())


def _run_of(record: Record) -> tuple[str | None, int | None]:
    """The method and seed that a record says it was made with."""
    method, seed = record.data.get("method"), record.data.get("seed")
    provenance = record.data.get("provenance")
    if isinstance(provenance, dict) and isinstance(provenance.get("method"), dict):
        method, seed = provenance["method"].get("spec"), provenance.get("seed")
    if not isinstance(method, str) or isinstance(seed, bool) or not isinstance(seed, int):
        return None, None
    return method, seed


def _one_run(
    run: tuple[str | None, int | None],
    records: Sequence[Record],
    task: Task,
    where: str,
    problems: Problems,
) -> AnswerSet:
    fields = {record.where: _reply_fields(record) for record in records}
    for record in records:
        if not fields[record.where]:
            problems.add(
                "missing field",
                f"{record.where}: no field with the reply, such as 'text', 'answer', 'response' or "
                f"'caption' (there are: {', '.join(map(repr, sorted(record.data)))})",
            )
    records = [record for record in records if fields[record.where]]
    questions = {plain(item.question) for item in task.items} if task.own_questions else set()
    question_fields: dict[str, str] = {}
    for record in records:
        name = _question_among(record, fields[record.where], questions)
        if name is not None:
            question_fields[record.where] = name
            fields[record.where].remove(name)
    matched = match(records, task, where, question_fields)
    for kind, message in matched.wrong:
        problems.add(kind, message)
    _settle_replies(matched.pairs, fields, where)
    if task.own_questions:
        _refuse_questions(matched.pairs, fields, where)
    responses: dict[str, Response] = {}
    for record, item in matched.pairs:
        text = _reply(record, fields[record.where], problems)
        if text is not None:
            reason = record.data.get("finish_reason")
            responses[item.id] = Response(text, reason if isinstance(reason, str) else None)
    return AnswerSet(*run, responses, () if matched.note is None else (matched.note,))


def _reply_fields(record: Record) -> list[str]:
    """The fields that may hold the reply; what a harness logged leaves no other choice."""
    there = [name for name in _REPLIES if record.data.get(name) is not None]
    return next(([name] for name in _LOGGED if name in there), there)


def _question_among(record: Record, names: Sequence[str], questions: set[str]) -> str | None:
    """Of several fields that may hold the reply, the one that holds the question."""
    if len(names) < 2:
        return None
    for name in names:
        value = record.data[name]
        if isinstance(value, str):
            text = plain(value)
            # A protocol's suffix may follow the question.
            if text in questions or text.partition("?")[0] + "?" in questions:
                return name
    return None


def _settle_replies(
    pairs: Sequence[tuple[Record, Item]], fields: Mapping[str, list[str]], where: str
) -> None:
    """Decides, for records with several fields that may hold the reply, which one does.

    Raises:
        DataError: Nothing says which.
    """
    alike: dict[tuple[str, ...], list[tuple[Record, Item]]] = {}
    for record, item in pairs:
        found = fields[record.where]
        if len({str(record.data[name]) for name in found}) > 1:
            alike.setdefault(tuple(found), []).append((record, item))
    for names, those in alike.items():
        left = [name for name in names if name != _TRUTH or not _holds_labels(name, those)]
        if len(left) != 1:
            raise DataError(_doubt(names, those[0][0], where))
        # All records of this form, those included in which the fields agree.
        for record, _ in pairs:
            if tuple(fields[record.where]) == names:
                fields[record.where][:] = left


def _holds_labels(name: str, pairs: Sequence[tuple[Record, Item]]) -> bool:
    """Whether a field is the truth: it repeats each item's own label."""
    return all(
        isinstance(item.truth.get("label"), str)
        and str(record.data[name]).strip().lower() == item.truth["label"]
        for record, item in pairs
    )


def _doubt(names: Sequence[str], record: Record, where: str) -> str:
    known = next((name for name in ("question_id", "id", "image_id") if name in record.data), "id")
    shown = " and ".join(f"{name!r} ({record.data[name]!s:.40})" for name in names)
    return (
        f"{record.where}: {shown} could each be the reply. Keep one of them, such as: "
        f"jq -c '{{{known}, text: .{names[0]}}}' {where} > replies.jsonl"
    )


def _refuse_questions(
    pairs: Sequence[tuple[Record, Item]], fields: Mapping[str, list[str]], where: str
) -> None:
    """Refuses a file in which what looks like the reply is the question, again and again.

    Raises:
        DataError: It is.
    """
    if pairs and all(
        _is_question(record, fields[record.where], item.question) for record, item in pairs
    ):
        record = pairs[0][0]
        name = fields[record.where][0]
        others = ", ".join(repr(other) for other in record.data if other != name)
        raise DataError(
            f"{where}: the field {name!r} holds the questions, not replies (beside it there are "
            f"{others}); name the field of the replies 'text'"
        )


def _is_question(record: Record, names: Sequence[str], question: str) -> bool:
    text, asked_for = plain(str(record.data[names[0]])), plain(question)
    # A model may repeat the question before it answers; a protocol's suffix is no answer.
    return (
        text.startswith(asked_for)
        and text[len(asked_for) :].strip().startswith(("answer the question", "please answer"))
    ) or text == asked_for


def _reply(record: Record, names: Sequence[str], problems: Problems) -> str | None:
    value: Any = record.data[names[0]]
    while names[0] in _LOGGED and isinstance(value, list) and len(value) == 1:
        [value] = value
    if not isinstance(value, str):
        problems.add(
            "field of another kind",
            f"{record.where}: {names[0]!r} is {kind_of(value)}, not one text",
        )
        return None
    return value
