"""A batch on its way through `generate`, and how the next samples take finished ones' places."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import StoppingCriteria, StoppingCriteriaList, StopStringCriteria
from transformers.generation.streamers import BaseStreamer

from secondsight.answer import Answer
from secondsight.decoding import Observer, decode
from secondsight.decoding.collate import join, padding_id
from secondsight.decoding.generation import Generation, Part
from secondsight.decoding.prefixes import Prefixes
from secondsight.inference.ending import ContextEnd, FirstToken, end_of
from secondsight.inference.evidence import EvidenceRecorder
from secondsight.inference.looked import Looked
from secondsight.inference.provenance import provenance
from secondsight.inference.streaming import read, until_stop
from secondsight.methods import Method
from secondsight.settings import Settings

if TYPE_CHECKING:
    from secondsight.inference.model import Model


_REFILL: Final = 0.25
"""The share of a batch that must have finished for others to join: each joining copies the cache
and reads prompts in a pass of its own."""


class Writing:
    """Some samples, what `generate` is asked about them, and what becomes of its ids.

    Args:
        model: The model.
        batch: The samples.
        method: The method.
        settings: How they are answered.
        evidence: Whether to keep what speaks for every token.
        schedule: When the views are read.
        streamer: Gets the tokens.
        criteria: Further stopping criteria.
        observer: Told of every step, unless evidence is kept.
    """

    def __init__(
        self,
        model: Model,
        batch: Sequence[Looked],
        method: Method,
        settings: Settings,
        *,
        evidence: bool = False,
        schedule: str = "auto",
        streamer: BaseStreamer | None = None,
        criteria: Sequence[StoppingCriteria] = (),
        observer: Observer | None = None,
    ) -> None:
        self._model = model
        self._batch = batch
        self._method = method
        self._settings = settings
        by_view = list(zip(*(looked.views for looked in batch), strict=True))
        inputs = [[model.to_device(one) for one in view] for view in by_view]
        prompts = join(
            [{"input_ids": one["input_ids"]} for one in inputs[0]], padding_id(model.hf_model)
        )
        self._width = prompts["input_ids"].shape[1]
        self._rooms = [
            model.encoder.context_length - max(one["input_ids"].shape[1] for one in views)
            for views in zip(*inputs, strict=True)
        ]
        names = batch[0].names
        self._recorder = EvidenceRecorder(model.tokenizer, names, len(batch)) if evidence else None
        self._clock = FirstToken()
        stopping = StoppingCriteriaList(
            [self._clock, ContextEnd(self._rooms, self._width), *criteria]
        )
        if settings.stop:
            stopping.append(StopStringCriteria(model.tokenizer, list(settings.stop)))
        self._arguments: dict[str, Any] = dict(
            **prompts,
            method=method,
            view_inputs=inputs,
            prefixes=Prefixes(
                list(zip(*(looked.prefixes for looked in batch), strict=True)), model.prefixes
            ),
            seeds=[looked.seed for looked in batch],
            schedule=schedule,
            observer=self._recorder or observer,
            streamer=streamer,
            stopping_criteria=stopping,
            max_new_tokens=min(settings.max_new_tokens, max(self._rooms)),
            **settings.for_generate(),
        )

    def run(self, loop: Callable[..., Any] = decode) -> list[Answer]:
        """Write all answers.

        Args:
            loop: The decoding loop, or what watches it.
        """
        return self.answers(self._generate(custom_generate=loop))

    def start(self) -> Generation:
        """The generation before its first step."""
        generation: Generation = self._generate(custom_generate=decode, paused=True)
        return generation

    def _generate(self, **options: Any) -> Any:
        self._start = time.perf_counter()
        return self._model.hf_model.generate(**self._arguments, **options)

    def answers(self, sequences: torch.Tensor) -> list[Answer]:
        """The answers in what has been written.

        Args:
            sequences: Prompts and answers, as `generate` returns them.
        """
        seconds = time.perf_counter() - self._start
        first = (self._clock.time or self._start) - self._start
        model, stop = self._model, self._settings.stop
        ends = model.hf_model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        found = []
        for place, looked in enumerate(self._batch):
            written = sequences[place, self._width : self._width + self._rooms[place]].tolist()
            ids, reason = end_of(written, model.tokenizer, ends, stop)
            recorded = self._recorder.tokens[place][: len(ids)] if self._recorder else None
            found.append(
                Answer(
                    text=until_stop(read(model.tokenizer, ids), stop),
                    ids=tuple(ids),
                    finish_reason=reason,
                    timings={
                        "encode": looked.seconds,
                        "first_token": first,
                        "generate": seconds,
                    },
                    provenance=model.facts() | provenance(looked, self._method, self._settings),
                    evidence=None if recorded is None else tuple(recorded),
                )
            )
        return found


def answer_in_turn(
    numbers: Sequence[int], batch_size: int, start: Callable[[Sequence[int]], Writing]
) -> Iterator[tuple[int, Answer]]:
    """Write answers, so many at a time; the next samples take the places of those that finish.

    Args:
        numbers: The samples' numbers.
        batch_size: How many are written at a time.
        start: Makes samples ready to be written.

    Yields:
        Each sample's number and its answer, once those that started with it are finished too.
    """
    waiting = deque(numbers)
    running: Generation | None = None
    writing: dict[Part, tuple[list[int], Writing]] = {}
    while waiting or running:
        free = batch_size - (running.samples if running else 0)
        if waiting and (running is None or free >= _REFILL * batch_size):
            chosen = [waiting.popleft() for _ in range(min(free, len(waiting)))]
            fresh = start(chosen)
            generation = fresh.start()
            [part] = generation.parts
            writing[part] = chosen, fresh
            if running is None:
                running = generation
            else:
                running.join(generation)
        assert running is not None
        for part in running.step():
            chosen, done = writing.pop(part)
            yield from zip(chosen, done.answers(part.result()), strict=True)
        if not running.parts:
            running = None
