"""A run from its rows to the joined answers, continued wherever it was left."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from secondsight.bulk.answering import Answering, ModelStarter, Starter, Work
from secondsight.bulk.manifest import Manifest, claim, identify
from secondsight.bulk.memory import bytes_of
from secondsight.bulk.merge import damaged, merge
from secondsight.bulk.reading import PUBLIC
from secondsight.bulk.shards import Shards, failures_in, is_there, shard_path
from secondsight.bulk.sources import Source
from secondsight.bulk.workers import Died, Done, Event, Started, Workers
from secondsight.errors import UserError
from secondsight.fetching import FetchPolicy
from secondsight.settings import Settings, settings_from

FORMATS: Final = ("jsonl", "parquet")
ROUNDING: Final = (
    "Workers compute on {}, which may round differently: where two tokens are nearly as likely, "
    "answers may too."
)
"""What there is to say where devices of several kinds are at work."""

_LOCK_WAIT_S: Final = 120.0
_NAME: Final = re.compile(r"""(?<!\w)(['"]).*?\1(?!\w)""")
_NUMBER: Final = re.compile(r"\d[\d,.]*(?<=\d)")
_LONGEST: Final = 160

Carry = Callable[[Work, Callable[[], Answering], int, int | None], Any]
"""Makes what has shards answered: `Workers`, or Ray's actors."""


@dataclass(frozen=True)
class Caption:
    """A run.

    Attributes:
        source: Its rows.
        folder: Where everything of it is.
        starter: Makes what answers.
        workers: How many worker processes.
        part: ``(i, n)``: only every n-th shard from the i-th on, counted from 0, as one task of an
            array of n does; None for all.
        shard_size: Rows of a shard: what is lost when a worker dies.
        formats: The files that are made at the end: ``jsonl``, ``parquet``.
        retry_failed: Whether shards with failed rows are answered again.
        carry: Has the shards answered; worker processes if left out.
        memory_gb: The most memory that a worker may hold, in GB (1e9 bytes); None for no limit.
    """

    source: Source
    folder: Path
    starter: Starter
    workers: int = 1
    part: tuple[int, int] | None = None
    shard_size: int = 256
    formats: tuple[str, ...] = ("jsonl",)
    retry_failed: bool = False
    carry: Carry = Workers
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UserError(f"The number of workers must be at least 1, not {self.workers}.")
        bytes_of(self.memory_gb)
        if self.shard_size < 1:
            raise UserError(f"The size of a shard must be at least 1, not {self.shard_size}.")
        if self.part is not None and not 0 <= self.part[0] < self.part[1]:
            raise UserError(
                f"The part {self.part[0]}/{self.part[1]} is none: parts of {self.part[1]} are 0 to "
                f"{self.part[1] - 1}."
            )
        unknown = [one for one in self.formats if one not in FORMATS]
        if unknown or not self.formats:
            raise UserError(f"The format must be jsonl, parquet, or both; not {unknown or 'none'}.")


@dataclass
class Summary:
    """How a run stands.

    Attributes:
        rows: Rows of the whole run.
        done: Rows with an answer or an error, those from before included.
        before: Those of them that were there when it began.
        reasons: Why rows failed, by kind, with how many; of this run's rows alone.
        by_worker: Rows by worker, of this run's rows alone.
        deaths: Workers that ended before their time.
        devices: What the answers were computed on, those from before included.
        seconds: How long it took.
        files: The joined answers, once everything is there.
    """

    rows: int
    done: int
    before: int
    reasons: Counter[str] = field(default_factory=Counter)
    by_worker: Counter[int] = field(default_factory=Counter)
    deaths: int = 0
    devices: list[str] = field(default_factory=list)
    seconds: float = 0.0
    files: list[Path] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Failed rows, of this run's alone."""
        return sum(self.reasons.values())


Watch = Callable[[Event, Summary], None]
"""Told of what happens, after it was counted."""


def run(plan: Caption, watch: Watch | None = None) -> Summary:
    """Answer what is not answered yet, and join everything once it is all there.

    Args:
        plan: The run.
        watch: Told of what happens.

    Raises:
        OtherRunError: The folder holds another run; what differs is named.
        WorkerError: A worker cannot go on.
        UserError: The source cannot be read, the folder cannot be written, or another process is
            at it.
    """
    start = time.monotonic()
    with ExitStack() as held:
        held.enter_context(_alone(plan.folder, plan.part))
        with _waiting(plan.folder / ".claim.lock"):
            manifest = claim(plan.folder, plan.source.rows(), plan.shard_size, plan.starter.asked)
        mine = range(manifest.shards) if plan.part is None else range(*_part(plan, manifest))
        if plan.retry_failed:
            _forget_failed(plan.folder, mine)
        missing = [number for number in mine if not is_there(plan.folder, number)]
        own = sum(map(manifest.size, mine))
        before = own - sum(map(manifest.size, missing))
        summary = Summary(own, before, before)
        manifest = _answer(plan, manifest, missing, summary, watch)
        if all(is_there(plan.folder, number) for number in range(manifest.shards)):
            _join(plan, manifest, summary, watch)
    summary.seconds = time.monotonic() - start
    return summary


def caption(
    source: str | Path,
    out: str | Path,
    *,
    question: str = "Describe this image in detail.",
    model: str | Path | None = None,
    method: str = "regular",
    batch_size: int = 16,
    workers: int = 1,
    shard_size: int = 256,
    formats: Sequence[str] = ("jsonl",),
    retry_failed: bool = False,
    memory_gb: float | None = None,
    loading: dict[str, Any] | None = None,
    policy: FetchPolicy = PUBLIC,
    watch: Watch | None = None,
    **settings: Any,
) -> Summary:
    """Caption or question all images of a folder, a pattern, a table or an archive.

    Continues a run that is in `out` already, if it is the same.

    Args:
        source: See `Source.name`.
        out: The run's folder; ``answers.jsonl`` in it has the answers, in the order of the rows.
        question: What is asked where a row has no question.
        model: As for `secondsight.load`.
        method: The method's text, such as ``ritual:alpha=3``.
        batch_size: Rows that are answered together.
        workers: Worker processes, each with a model of its own.
        shard_size: Rows that are written together.
        formats: ``jsonl``, ``parquet``.
        retry_failed: Whether shards with failed rows are answered again.
        memory_gb: See `Caption.memory_gb`.
        loading: Further arguments of `secondsight.load`.
        policy: What may be fetched by http and https.
        watch: Told of what happens.
        **settings: As for `Model.answer`.

    Raises:
        UserError: See `run`.
    """
    chosen: Settings = settings_from(settings)  # type: ignore[arg-type]
    starter = ModelStarter(
        loading={"model": model, **(loading or {})},
        method=method,
        settings=chosen,
        batch_size=batch_size,
        policy=policy,
    )
    plan = Caption(
        Source(str(source), question),
        Path(out),
        starter,
        workers=workers,
        shard_size=shard_size,
        formats=tuple(formats),
        retry_failed=retry_failed,
        memory_gb=memory_gb,
    )
    return run(plan, watch)


def _answer(
    plan: Caption,
    manifest: Manifest,
    missing: Sequence[int],
    summary: Summary,
    watch: Watch | None,
) -> Manifest:
    """Have shards answered; the manifest, with what they are answered with."""
    if not missing:
        return manifest
    work = Shards(plan.folder.absolute())
    memory = bytes_of(plan.memory_gb)
    with plan.carry(work, plan.starter, plan.workers, memory) as workers:
        for event in workers.run(missing):
            if isinstance(event, Started):
                with _waiting(plan.folder / ".claim.lock"):
                    manifest = identify(plan.folder, event.identity, event.device)
                summary.devices = list(manifest.devices)
                workers.agree()
            elif isinstance(event, Done):
                summary.done += event.rows
                summary.by_worker[event.worker] += event.rows
                summary.reasons.update(map(kind, event.failed))
            elif isinstance(event, Died):
                summary.deaths += 1
            if watch is not None:
                watch(event, summary)
    return manifest


def _join(plan: Caption, manifest: Manifest, summary: Summary, watch: Watch | None) -> None:
    """Join all shards, after those that are not whole were answered again."""
    with _waiting(plan.folder / ".merge.lock"):
        broken = damaged(plan.folder, manifest)
        for number in broken:
            shard_path(plan.folder, number).unlink(missing_ok=True)
            summary.done -= manifest.size(number)
            summary.before -= min(summary.before, manifest.size(number))
        _answer(plan, manifest, broken, summary, watch)
        summary.files = merge(plan.folder, manifest, plan.formats)


def kind(failure: str) -> str:
    """What kind of failure an error tells of: the text without names and numbers."""
    return _NUMBER.sub("…", _NAME.sub("…", failure))[:_LONGEST]


def _part(plan: Caption, manifest: Manifest) -> tuple[int, int, int]:
    assert plan.part is not None
    return plan.part[0], manifest.shards, plan.part[1]


def _forget_failed(folder: Path, shards: Sequence[int]) -> None:
    for number in shards:
        if is_there(folder, number) and any(failures_in(folder, number)):
            shard_path(folder, number).unlink()


@contextmanager
def _alone(folder: Path, part: tuple[int, int] | None) -> Iterator[None]:
    """Keep a second driver out of a folder; the parts of one array go side by side."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{str(folder)!r} cannot be written: {error.strerror}.") from None
    whole = folder / ".driver.lock"
    own = whole if part is None else folder / f".driver-{part[0]}-of-{part[1]}.lock"
    others = [whole] if part is not None else sorted(folder.glob(".driver-*-of-*.lock"))
    with ExitStack() as held:
        held.enter_context(_locked(own, folder))
        for other in others:  # not kept: it need only be free now
            with _locked(other, folder):
                pass
        yield


def _locked(path: Path, folder: Path) -> Any:
    try:
        return FileLock(path).acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"Another run is at work in {str(folder)!r}. Wait for it, or choose another --out."
        ) from None
    except OSError as error:
        raise UserError(f"{str(folder)!r} cannot be written: {error.strerror}.") from None


@contextmanager
def _waiting(path: Path) -> Iterator[None]:
    """One at a time, for what takes a moment."""
    try:
        with FileLock(path, timeout=_LOCK_WAIT_S):
            yield
    except Timeout:
        raise UserError(f"{str(path)!r} is held by another process. Is one stopped?") from None
