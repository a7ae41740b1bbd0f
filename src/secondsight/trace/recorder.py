"""One run, recorded: prepare the request, write the answer, interpret it, put it together."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from secondsight.answer import Answer
from secondsight.checking.calibration import Calibrations
from secondsight.decoding.changes import Changes
from secondsight.decoding.engine import Engine
from secondsight.decoding.step import Step
from secondsight.files import check_writable
from secondsight.inference.backbone import Backbone
from secondsight.inference.checked import CheckedTicket
from secondsight.inference.prepare import PreparedRequest
from secondsight.inference.runner import Runner
from secondsight.inference.ticket import DirectTicket
from secondsight.request import Request
from secondsight.trace.activations import PromptActivations
from secondsight.trace.answer_words import answer_words, token_texts
from secondsight.trace.calls import CallRecorder, layer_count
from secondsight.trace.config import config_facts
from secondsight.trace.generation import generation_facts, output_facts
from secondsight.trace.interpretation import Interpretation, interpret
from secondsight.trace.keep import Keeper
from secondsight.trace.layers import parse_layers
from secondsight.trace.modules import language_layers
from secondsight.trace.patches import Patches, find_patches
from secondsight.trace.prompting import inference_facts, view_facts
from secondsight.trace.result import Trace
from secondsight.trace.tokens import TokenRecorder, with_dependence

_TOP: Final = 10
"""Candidates that are kept of every distribution."""


class Traceable(Protocol):
    """What a trace needs of a `secondsight.Model`, which this package must not know."""

    @property
    def backbone(self) -> Backbone:
        """Model, encoder and protocol as data."""
        ...

    @property
    def calibrations(self) -> Calibrations:
        """What the model's yes and no mean."""
        ...

    @property
    def runner(self) -> Runner:
        """The engine that all callers of the model share."""
        ...

    def prepare(self, request: Request) -> PreparedRequest:
        """Prepare a request: open its images, make its views, encode their prompts."""
        ...


@dataclass(frozen=True)
class Options:
    """What to record besides what is always recorded.

    Attributes:
        attentions: Attention to the patches.
        rollout: Attention rolled out through the layers, too.
        layers: Layers to show one by one, calls and heads: numbers, or text such as ``0,4-7``.
        keep: A file for the whole tensors.
        decode_steps: Decode steps whose calls are recorded after prefill.
    """

    attentions: bool = True
    rollout: bool = False
    layers: str | Collection[int] = ()
    keep: str | Path | None = None
    decode_steps: int = 2


class TraceStoppedError(Exception):
    """Nobody wants the trace any more."""


def _never() -> bool:
    return False


def record(
    model: Traceable,
    request: Request,
    options: Options | None = None,
    stopped: Callable[[], bool] = _never,
) -> Trace:
    """Answer a request and record how.

    The answer is written by an engine of its own, so that nothing comes from what is known of
    earlier questions; other callers of the model wait meanwhile.

    Args:
        model: The model.
        request: What is asked; every view is read at every step, whatever its schedule.
        options: What to record.
        stopped: Whether nobody wants the trace any more; asked at every token and every layer.

    Raises:
        TraceStoppedError: Nobody wants it any more.
        UserError: The request cannot be answered; a layer that the model does not have, or a
            file that cannot be written.
    """
    options = options or Options()
    layers = parse_layers(options.layers, layer_count(model.backbone.hf_model))
    if options.keep is not None:
        check_writable(Path(options.keep))
    return _Recording(model, request, options, layers, stopped).trace()


class _Recording:
    """The state of one recording."""

    def __init__(
        self,
        model: Traceable,
        request: Request,
        options: Options,
        layers: Collection[int],
        stopped: Callable[[], bool],
    ) -> None:
        self.stopped = stopped
        self.model, self.request, self.options, self.layers = model, request, options, layers
        self.keeper = Keeper(wanted=options.keep is not None)
        self.backbone = model.backbone
        hf_model = self.backbone.hf_model
        self.calls = CallRecorder(hf_model, steps=options.decode_steps, layers=layers)
        self.engine = Engine(hf_model)
        self.activations = PromptActivations(self.engine, self.keeper)
        self.changes: list[Changes | None] = []
        self.seconds: dict[str, float] = {}

    def trace(self) -> Trace:
        model = self.model
        self._go_on()
        with self._timed("prepare"), self.calls.recording():
            prepared = model.prepare(self.request)
        tokens = TokenRecorder(
            prepared.method,
            prepared.names,
            keep=_TOP,
            after_step=self.calls.next_phase,
            keeper=self.keeper,
        )
        with model.runner.alone(), self._stoppable():
            with self._timed("answer"):
                answer = self._answer(prepared, tokens)
            patches = [
                find_patches(self.backbone, inputs, len(sample.images))
                for inputs, sample in zip(prepared.inputs, prepared.seen, strict=True)
            ]
            with self._timed("teacher forcing"):
                found = interpret(
                    self.backbone,
                    prepared,
                    patches,
                    tokens,
                    self.changes,
                    keeper=self.keeper,
                    attentions=self.options.attentions,
                    rollout=self.options.rollout,
                    layers=self.layers,
                )
        self._go_on()
        with self._timed("report"):
            return self._assembled(prepared, answer, tokens, found, patches)

    def _go_on(self, *_: object) -> None:
        """Raise where nobody wants the trace any more."""
        if self.stopped():
            raise TraceStoppedError

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Ask before every layer, too; the model is this thread's alone meanwhile."""
        found = language_layers(self.backbone.hf_model)
        hooks = [
            layer.register_forward_pre_hook(self._go_on)
            for layer in (found.modules if found is not None else ())
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _answer(self, prepared: PreparedRequest, tokens: TokenRecorder) -> Answer:
        def watch(step: Step) -> None:
            self._go_on()
            tokens(step)
            self.changes = [row.changes for row in self.engine.running[0].rows]

        self.calls.next_phase()
        ticket = DirectTicket(
            self.backbone, Runner(self.engine), prepared.without_images(), observer=watch
        )
        with self.activations.watching(), self.calls.recording():
            answer = ticket.result()
        return answer if prepared.checking is None else self._doubted(prepared, answer)

    def _doubted(self, prepared: PreparedRequest, answer: Answer) -> Answer:
        """The answer as it was first written, with how far each statement is to be doubted.

        It is written a second time, so that nothing of the questions is taken for the answer's.
        """
        assert prepared.checking is not None
        checking = replace(prepared.checking, repair="none")
        calibrations = self.model.calibrations
        ticket = CheckedTicket(self.backbone, Runner(self.engine), prepared, checking, calibrations)
        found = ticket.result()
        facts = {**answer.provenance, "checking": found.provenance["checking"]}
        return replace(answer, doubts=found.doubts, provenance=facts)

    def _assembled(
        self,
        prepared: PreparedRequest,
        answer: Answer,
        tokens: TokenRecorder,
        found: Interpretation,
        patches: Sequence[Patches | None],
    ) -> Trace:
        backbone, keeper = self.backbone, self.keeper
        inference = inference_facts(
            backbone, prepared.seen[0], prepared.inputs[0], self.activations, patches[0]
        )
        texts = token_texts(backbone.tokenizer, tokens.ids)
        facts = with_dependence(tokens.facts(found.read, texts), found.without_image)
        for name, inputs in zip(prepared.names, prepared.inputs, strict=True):
            for key in ("input_ids", "attention_mask", "pixel_values"):
                if inputs.get(key) is not None:
                    keeper.keep(f"inputs.{name}.{key}", inputs[key])
        if self.options.keep is not None:
            keeper.write(Path(self.options.keep))
        threshold = 1.0 if prepared.checking is None else prepared.checking.threshold
        return Trace(
            answer=answer,
            config=config_facts(backbone),
            inference=inference,
            generation=generation_facts(backbone, prepared, self.engine, inference.ids),
            flow=self.calls.phases(),
            output=output_facts(prepared, tokens.ids, answer.text, inference.ids, keeper),
            tokens=facts,
            words=answer_words(facts, answer.doubts or (), threshold),
            views=view_facts(backbone, prepared, patches),
            attention=found.attention,
            lens=found.lens,
            notes=found.notes,
            seconds=self.seconds,
            kept=keeper.shapes(),
        )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
