"""The backend: a loaded model whose engine a thread of the server runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from secondsight.answer import Answer, TokenUpdate
from secondsight.decoding.sequence import rows_of
from secondsight.decoding.step import Step
from secondsight.inference import Model
from secondsight.inference.ticket import Ticket
from secondsight.request import Request
from secondsight.server.backend import (
    Cancel,
    Ended,
    Generation,
    Load,
    OnEnd,
    OnToken,
    Stopped,
    Token,
)
from secondsight.server.scores import Scores, TokenTexts, scores_of

_JOINS: Final = 2
"""Answers that begin at one step while others run: reading a prompt holds those up."""

_REGAIN: Final = 8
"""Answers that end before the engine tries one more at once, after memory ran out."""


class EngineBackend:
    """Answers by a model's own engine, which a thread of its own runs.

    Args:
        model: The model; others may use it as well.
        batch_size: How many answers are written at once.
    """

    def __init__(self, model: Model, *, batch_size: int) -> None:
        self._model = model
        self._engine = model.runner.engine
        self._engine.most, self._engine.joins = batch_size, _JOINS
        self._batch_size, self._ended = batch_size, 0
        self._texts = TokenTexts(model.tokenizer)
        self._open = True
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._model.run_while(lambda: self._open)

    def start(self, generation: Generation, on_token: OnToken, on_end: OnEnd) -> Cancel:
        """See `Backend.start`."""
        request = Request(
            generation.sample,
            generation.method,
            generation.settings,
            share_views=generation.share_views,
            doubts=generation.doubts,
        )
        asked = self._model.prepare(request)
        if asked.checking is None:  # whose questions need them again
            asked = asked.without_images()
        generation = replace(generation, sample=asked.request.sample)
        del request
        listening = _Listener(generation, asked.names, self._texts, on_token, on_end)
        ticket = self._model.start(
            asked,
            listening.hear,
            observer=listening.observe if listening.watching else None,
        )
        ticket.add_done_callback(listening.end)
        ticket.add_done_callback(self._regain)
        return ticket.cancel

    def _regain(self, ticket: Ticket) -> None:
        """Write one more at once, now and then, after memory ran out and the engine cut down."""
        self._ended += 1
        most = self._engine.most
        if most is not None and most < self._batch_size and self._ended % _REGAIN == 0:
            self._engine.most = most + 1

    def trace(
        self,
        generation: Generation,
        layers: str,
        *,
        attentions: bool,
        wanted: str,
        stopped: Stopped,
    ) -> str:
        """See `Backend.trace`."""
        from secondsight.trace import Options, record

        options = Options(attentions=attentions, layers=layers)
        request = Request(
            generation.sample,
            generation.method,
            generation.settings,
            share_views=generation.share_views,
        )
        trace = record(self._model, request, options, stopped)
        if wanted == "html":
            return trace.to_html()
        if wanted == "json":
            return trace.to_json()
        maps = {
            "answer": trace.answer.text,
            "tokens": [{"id": one.id, "text": one.text} for one in trace.tokens],
            "attention": [one.to_dict() for one in trace.attention],
            "views": [
                {
                    "view": view.name,
                    "choice": view.choice,
                    "images": [vars(image) for image in view.images],
                }
                for view in trace.views
            ],
            "notes": list(trace.notes),
        }
        return json.dumps(maps, ensure_ascii=False)

    def load(self) -> Load:
        """See `Backend.load`."""
        running = list(self._engine.running)
        return Load(
            running=len(running),
            rows=len(rows_of(running)),
            waiting=len(self._engine.waiting),
        )

    def facts(self) -> Mapping[str, Any]:
        """See `Backend.facts`."""
        return self._model.facts()

    @property
    def context_length(self) -> int:
        """See `Backend.context_length`."""
        return self._model.encoder.context_length

    @property
    def alive(self) -> bool:
        """See `Backend.alive`."""
        return self._thread.is_alive()

    def close(self) -> None:
        """See `Backend.close`."""
        self._open = False
        self._model.runner.notify()
        self._thread.join(5)


class _Listener:
    """Hears of an answer's steps and tokens, and passes them on."""

    def __init__(
        self,
        generation: Generation,
        names: tuple[str, ...],
        texts: TokenTexts,
        on_token: OnToken,
        on_end: OnEnd,
    ) -> None:
        self._generation = generation
        self._names = names
        self._texts = texts
        self._on_token = on_token
        self._on_end = on_end
        self._scores: dict[int, Scores] = {}

    @property
    def watching(self) -> bool:
        """Whether every step's logits are wanted."""
        return self._generation.evidence or self._generation.top_logprobs is not None

    def observe(self, step: Step) -> None:
        """Read a step's logits."""
        self._scores[step.index] = scores_of(
            self._texts,
            step.logits,
            step.scores,
            step.plausible,
            step.token,
            names=self._names,
            top=self._generation.top_logprobs or 0,
            evidence=self._generation.evidence,
        )

    def hear(self, update: TokenUpdate) -> None:
        """A token came, or the answer ended without one."""
        scores = self._scores.pop(update.index, None)
        if update.id is None or update.finish_reason == "eos":
            # The token that says that the answer is over is no part of it.
            if update.text:
                self._on_token(Token(update.text))
        elif scores is None:
            self._on_token(Token(update.text))
        else:
            self._on_token(Token(update.text, scores.chosen, scores.top, scores.evidence))

    def end(self, ticket: Ticket) -> None:
        """The answer is whole, or something prevented it."""
        try:
            answer = ticket.result()
        except BaseException as error:
            self._on_end(error)
            return
        stop = self._stop(answer) if answer.finish_reason == "stop" else None
        self._on_end(Ended(answer, ticket.prompt_tokens, ticket.image_tokens, stop=stop))

    def _stop(self, answer: Answer) -> str | None:
        """The stop string that an answer came to first."""
        text = self._texts.joined(answer.ids)
        found = [(text.find(stop), stop) for stop in self._generation.settings.stop]
        return min((one for one in found if one[0] >= 0), default=(0, None))[1]
