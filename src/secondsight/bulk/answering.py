"""What a worker does with the rows of a shard: one model, one method, a fixed batch size."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from PIL import Image

from secondsight.bulk.reading import PUBLIC, image_of
from secondsight.bulk.rows import Row
from secondsight.errors import UserError
from secondsight.fetching import FetchPolicy
from secondsight.settings import Settings

if TYPE_CHECKING:
    from secondsight.inference import Model

Records = list[dict[str, Any]]

WORKER: Final = "SECONDSIGHT_WORKER"
"""Environment variable of a worker process: its number."""

_READERS = 4


class Answering(Protocol):
    """Answers rows, and says with what."""

    identity: Mapping[str, Any]
    """Whatever the answers depend on besides the rows, ready for JSON."""

    device: str
    """What it computes on, as far as rounding depends on it."""

    def __call__(self, rows: Sequence[Row]) -> Records:
        """Answer rows.

        Args:
            rows: The rows.

        Returns:
            A record for each, in their order: ``text`` and why it ended, or ``error``.
        """
        ...


class Work(Protocol):
    """Rows by shards, and what becomes of their records; travels to the worker by pickle."""

    def rows(self, shard: int) -> Sequence[Row]:
        """The rows of a shard."""
        ...

    def keep(self, shard: int, records: Records) -> Records:
        """Keep the records of a shard's rows.

        Returns:
            Those of them that the driver is to be sent.
        """
        ...


class Starter(Protocol):
    """Makes an `Answering`; travels to the worker by pickle."""

    @property
    def asked(self) -> Mapping[str, Any]:
        """What is asked for, ready for JSON, as far as it is known before anything is loaded."""
        ...

    def __call__(self) -> Answering:
        """Load what it takes."""
        ...


@dataclass(frozen=True)
class ModelStarter:
    """Loads a model.

    Attributes:
        loading: Arguments of `secondsight.load`.
        method: The method's text.
        settings: The settings of every answer.
        batch_size: Rows that are answered together.
        image_column: The column of a parquet file that holds images.
        policy: What may be fetched by http and https.
        before: Called first in the worker: registers methods of one's own.
    """

    loading: Mapping[str, Any] = field(default_factory=dict)
    method: str = "regular"
    settings: Settings = field(default_factory=Settings)
    batch_size: int = 16
    image_column: str = "image"
    policy: FetchPolicy = PUBLIC
    before: Callable[[], None] | None = None

    @property
    def asked(self) -> Mapping[str, Any]:
        """See `Starter.asked`."""
        from secondsight.methods import create

        loading = {key: value for key, value in self.loading.items() if value is not None}
        settings = asdict(self.settings)
        return {
            **{
                key: value if isinstance(value, bool) else str(value)
                for key, value in loading.items()
            },
            "method": create(self.method).spec,
            "settings": {**settings, "stop": list(self.settings.stop)},
            "batch_size": self.batch_size,
        }

    def __call__(self) -> ModelAnswering:
        """Load the model.

        Raises:
            UserError: It cannot be loaded, or the method is not known.
        """
        if self.before is not None:
            self.before()
        from transformers.utils import logging

        from secondsight.checkpoints import load

        logging.disable_progress_bar()  # several workers' bars would be written over each other
        return ModelAnswering(load(**placed(self.loading)), self)


def placed(loading: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a worker process a card of its own, where its machine has several.

    Ray does so itself, and whoever names a device has chosen.

    Args:
        loading: Arguments of `secondsight.load`.

    Returns:
        The same, with the device.
    """
    number = os.environ.get(WORKER)
    if number is None or loading.get("device", "auto") != "auto" or loading.get("device_map"):
        return loading
    import torch

    cards = torch.cuda.device_count()
    return {**loading, "device": f"cuda:{int(number) % cards}"} if cards > 1 else loading


def device_of(model: Model) -> str:
    """What a model computes on, as far as rounding depends on it: two cards of a kind are one."""
    import torch

    device = next(model.hf_model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu ({torch.backends.cpu.get_cpu_capability()})"
    return str(device)


class ModelAnswering:
    """Answers rows with a model; see `Answering`.

    Args:
        model: The model.
        plan: How.
    """

    def __init__(self, model: Model, plan: ModelStarter) -> None:
        from secondsight.inference.provenance import identity_of
        from secondsight.methods import create

        self._model, self._plan, self._method = model, plan, create(plan.method)
        model.prefixes.capacity = 0  # images come once; nothing of them need be kept
        self.device = device_of(model)
        self.identity: Mapping[str, Any] = {
            "model": model.name,
            "revision": model.revision,
            "weights": model.identity,
            "dtype": str(model.hf_model.dtype).removeprefix("torch."),
            "preset": model.preset.name,
            **identity_of(self._method, model.calibrations),
        }

    def __call__(self, rows: Sequence[Row]) -> Records:
        """See `Answering.__call__`."""
        from secondsight.answer import Answer
        from secondsight.request import Request
        from secondsight.sample import Sample

        records: Records = [
            {"id": row.id, "image": row.image, "question": row.question} for row in rows
        ]
        asked: list[int] = []

        def requests() -> Iterator[Request]:
            for number, found in self._read(rows):
                if isinstance(found, UserError):
                    records[number]["error"] = str(found)
                    continue
                asked.append(number)
                row = rows[number]
                sample = Sample(found, row.question)
                yield Request(sample, self._method, self._plan.settings)

        for place, outcome in self._model.outcomes(requests(), batch_size=self._plan.batch_size):
            record = records[asked[place]]
            if isinstance(outcome, Answer):
                record["text"] = outcome.text
                record["finish_reason"] = outcome.finish_reason
                record.update(outcome.checked())
                views = outcome.provenance["views"]
                if any("choice" in view for view in views):
                    record["views"] = views
            else:
                record["error"] = str(outcome)
        return records

    def _read(self, rows: Sequence[Row]) -> Iterator[tuple[int, Image.Image | UserError | None]]:
        """Images in the rows' order, opened by threads some rows ahead."""
        plan = self._plan
        ahead: deque[Future[Image.Image | None]] = deque()
        left = iter(rows)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="secondsight-read") as pool:
            for number in range(len(rows)):
                for row in islice(left, 2 * plan.batch_size - len(ahead)):
                    ahead.append(pool.submit(image_of, row, plan.policy, plan.image_column))
                try:
                    yield number, ahead.popleft().result()
                except UserError as error:
                    yield number, error
