"""A request on its way: its tokens as they come, its answer when it has one, and its end."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from collections.abc import Sequence as Many

from secondsight.answer import Alternative, Answer, FinishReason, TokenUpdate
from secondsight.decoding.beams import Ended
from secondsight.decoding.sequence import Sequence, Update
from secondsight.decoding.step import Observer, Step
from secondsight.inference.backbone import Backbone
from secondsight.inference.evidence import EvidenceRecorder
from secondsight.inference.prepare import PreparedRequest
from secondsight.inference.provenance import provenance
from secondsight.inference.runner import Runner
from secondsight.inference.streaming import Pieces, read, until_stop

Listener = Callable[[TokenUpdate], None]
"""Told of every token, by the thread that makes the step."""


class Ticket(ABC):
    """A request on its way to an answer.

    Args:
        backbone: The model.
        runner: Runs its engine.
        asked: The prepared request.

    Attributes:
        asked: The prepared request.
    """

    def __init__(self, backbone: Backbone, runner: Runner, asked: PreparedRequest) -> None:
        self.asked = asked
        self._backbone, self._runner = backbone, runner
        self._answer: Answer | None = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Ticket], None]] = []

    @property
    def prompt_tokens(self) -> int:
        """Positions of the original view's prompt, image included."""
        return int(self.asked.inputs[0]["input_ids"].shape[1])

    @property
    def image_tokens(self) -> int:
        """Those of the prompt's positions that hold the image."""
        return self._backbone.layout(self.asked.inputs[0]).image_tokens

    @property
    def view_names(self) -> tuple[str, ...]:
        """The names of the method's views, the original first."""
        return self.asked.names

    @property
    def done(self) -> bool:
        """Whether it has ended, in an answer or an error."""
        return self._answer is not None or self._error is not None

    def result(self) -> Answer:
        """The answer; runs the engine, or waits for whoever does, until it has one.

        Raises:
            UserError: The request cannot be answered.
        """
        self._runner.run_until(lambda: self.done)
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer

    @abstractmethod
    def cancel(self) -> None:
        """End it before the next pass of the model; its answer is what was written so far."""

    def add_done_callback(self, call: Callable[[Ticket], None]) -> None:
        """Have something called when it has ended, in whatever thread; at once if it has."""
        self._callbacks.append(call)
        if self.done:
            self._call_back()

    def _call_back(self) -> None:
        while self._callbacks:
            self._callbacks.pop()(self)


class DirectTicket(Ticket):
    """A request that is written once, and answered by what is written.

    Args:
        backbone: The model.
        runner: Runs its engine.
        asked: The prepared request.
        listener: Told of every token, in whatever thread makes the step.
        observer: Told of every step, before the listener; every view is then read at every step.
    """

    def __init__(
        self,
        backbone: Backbone,
        runner: Runner,
        asked: PreparedRequest,
        *,
        listener: Listener | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(backbone, runner, asked)
        self._listener, self._observer = listener, observer
        self._recorder = (
            EvidenceRecorder(backbone.tokenizer, asked.names) if asked.request.evidence else None
        )
        stops = asked.request.settings.stop
        self._pieces = Pieces(backbone.tokenizer, stops) if listener is not None else None
        self._start = time.perf_counter()
        self._first: float | None = None
        watch = self._recorder if observer is None else self._watch
        self._handle = runner.submit(asked.prepared, self._hear, watch)

    def cancel(self) -> None:
        """See `Ticket.cancel`."""
        if not self.done:
            self._runner.cancel(self._handle)

    def _watch(self, step: Step) -> None:
        if self._recorder is not None:
            self._recorder(step)
        if self._observer is not None:
            self._observer(step)

    def _hear(self, update: Update) -> None:
        self._first = self._first or time.perf_counter()
        sequence = update.sequence
        error = sequence.error
        if error is None:
            try:
                self._tell(update)
            except Exception as raised:  # of a listener, which must not end the others' answers
                error = raised
                self.cancel()
        if error is not None:
            self._error = self._error or error
        elif update.finished is not None and self._error is None:
            self._answer = self._read(sequence)
        if self.done:
            self._call_back()

    def _tell(self, update: Update) -> None:
        if self._listener is None or self._pieces is None:
            return
        ids, ended = update.sequence.ids, update.finished
        if update.sequence.found:  # all of a search's tokens are new when it ends
            for index, token in enumerate(ids if update.token is None else ids[:-1]):
                piece = self._pieces.next(ids[: index + 1])
                self._listener(TokenUpdate(index, token, piece, None))
        kept = ids[:-1] if ended == "eos" else ids
        text = self._pieces.next(kept, last=ended is not None)
        index = len(ids) - (update.token is not None)
        self._listener(TokenUpdate(index, update.token, text, ended))

    def _read(self, sequence: Sequence) -> Answer:
        reason = sequence.finished
        assert reason is not None
        ids, text = self._text(sequence.ids, reason)
        found = sequence.found[: self.asked.request.settings.num_return_sequences]
        evidence = None if self._recorder is None else tuple(self._recorder.tokens[: len(ids)])
        now = time.perf_counter()
        return Answer(
            text=text,
            ids=ids,
            finish_reason=reason,
            timings={
                "encode": self.asked.seconds,
                "first_token": (self._first or now) - self._start,
                "generate": now - self._start,
            },
            provenance=self._backbone.facts() | provenance(self.asked),
            evidence=evidence,
            score=found[0].score if found else None,
            alternatives=tuple(self._alternative(one) for one in found[1:]),
        )

    def _alternative(self, one: Ended) -> Alternative:
        ids, text = self._text(one.ids, one.reason)
        return Alternative(text, ids, one.reason, one.score)

    def _text(self, written: Many[int], reason: FinishReason) -> tuple[tuple[int, ...], str]:
        """Ids as an answer has them, and their text."""
        ids = tuple(written[:-1] if reason == "eos" else written)
        text = read(self._backbone.tokenizer, ids)
        return ids, until_stop(text, self.asked.request.settings.stop)
