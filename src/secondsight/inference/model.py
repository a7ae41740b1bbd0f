"""A loaded model: one interface to answer, answer many, and stream, with any method."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Literal

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import Unpack

from secondsight.answer import Answer
from secondsight.checking.calibration import Calibrations
from secondsight.decoding.engine import Engine
from secondsight.decoding.sharing import PrefixCache
from secondsight.decoding.step import Observer
from secondsight.errors import UserError
from secondsight.images import Images
from secondsight.inference.backbone import Backbone, weights_hash
from secondsight.inference.batching import (
    WINDOW,
    checked_batch_size,
    fitting_batch_size,
    order,
)
from secondsight.inference.checked import CheckedTicket
from secondsight.inference.encoder import Encoder
from secondsight.inference.prepare import PreparedRequest, most_hypotheses, prepare
from secondsight.inference.runner import Runner
from secondsight.inference.stream import Stream
from secondsight.inference.ticket import DirectTicket, Listener, Ticket
from secondsight.methods import Method
from secondsight.presets import Preset
from secondsight.prompts import Turn
from secondsight.request import Request, as_views
from secondsight.sample import Sample, as_samples, as_turns
from secondsight.settings import SettingsOptions, settings_from

PREFIX_CACHE_BYTES: Final = 512 * 2**20
"""How much of the prompts that were read last is kept, for further questions on their images."""

ASK_FIRST_TOKENS: Final = 32
"""The longest reply to a method's question before the answer (RITUAL+)."""

PREPARING_THREADS: Final = 2
"""How many threads open images and encode prompts while the model is busy."""


class Model:
    """A vision-language model that answers with any decoding method.

    It may be used from any number of threads at once: they share one engine, and every answer is
    that of a call of its own.

    Args:
        hf_model: The transformers model.
        encoder: Turns samples into its inputs.
        preset: The protocol that the encoder follows.
        name: How the model was asked for.
        revision: The commit on the hub, if it came from there.
        stored_generation: The generation configuration as the checkpoint has it, for the record;
            that of `hf_model` if left out.
        stored_config: The checkpoint's own ``config.json``, for the record.
        identify: Says which weights these are, when it is first asked; left out, their values are
            hashed then.
        calibrations: Turn what the model says of its answers into probabilities; none if left out.

    Attributes:
        backbone: Model, encoder and protocol as data.
        prefixes: The beginnings of the prompts that were read last, images included; its
            `capacity` (bytes) may be set, and `clear` forgets them.
        runner: The engine that all calls share.
        calibrations: Turn what the model says of its answers into probabilities; may be set.
    """

    def __init__(
        self,
        hf_model: PreTrainedModel,
        encoder: Encoder,
        *,
        preset: Preset,
        name: str,
        revision: str | None = None,
        stored_generation: GenerationConfig | None = None,
        stored_config: Mapping[str, Any] | None = None,
        identify: Callable[[], str] | None = None,
        calibrations: Calibrations | None = None,
    ) -> None:
        stored = stored_generation or hf_model.generation_config
        self.backbone = Backbone(hf_model, encoder, preset, name, revision, stored, stored_config)
        self.calibrations = calibrations or Calibrations()
        self._identify = identify or partial(weights_hash, hf_model)
        self.prefixes = PrefixCache(PREFIX_CACHE_BYTES)
        self.runner = Runner(Engine(hf_model, prefixes=self.prefixes))

    @property
    def hf_model(self) -> PreTrainedModel:
        """The transformers model, for ``hf_model.generate(...)`` of one's own."""
        return self.backbone.hf_model

    @property
    def encoder(self) -> Encoder:
        """Turns samples into the model's inputs."""
        return self.backbone.encoder

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return self.backbone.tokenizer

    @property
    def preset(self) -> Preset:
        """The protocol that the encoder follows."""
        return self.backbone.preset

    @property
    def name(self) -> str:
        """How the model was asked for."""
        return self.backbone.name

    @property
    def revision(self) -> str | None:
        """The commit on the hub, if it came from there."""
        return self.backbone.revision

    @property
    def stored_generation(self) -> GenerationConfig:
        """The generation configuration as the checkpoint has it."""
        return self.backbone.stored_generation

    @cached_property
    def identity(self) -> str:
        """What tells these weights from any other's: commits on the hub, or hashes of the files.

        It is made when it is first asked for, and files are read at most once on a machine.
        """
        return self._identify()

    def facts(self) -> dict[str, Any]:
        """What an answer's provenance says about the model."""
        return self.backbone.facts()

    def encode(
        self, image: Images, question: str, *, history: Sequence[Turn] = ()
    ) -> dict[str, Any]:
        """Encode a question, for ``hf_model.generate`` or as one of its views.

        Args:
            image: The image, or several; None for the prompt without the image.
            question: The question.
            history: Earlier turns.

        Returns:
            A batch of one on the model's device: ``input_ids`` and ``attention_mask`` of shape
            (1, tokens), and with images ``pixel_values``, for which a tensor of one's own may
            be put.

        Raises:
            ImageError: The image cannot be used.
            QuestionError: The question is empty or too long.
        """
        return self.encode_sample(Sample(image, question, history=as_turns(history)))

    def encode_sample(self, sample: Sample) -> dict[str, Any]:
        """Encode a sample as `encode` does: what a view made of it counts.

        Raises:
            ImageError: The image cannot be used.
            QuestionError: The question is empty or too long.
        """
        return self.backbone.to_device(self.backbone.encode(sample.checked().opened()))

    def answer(
        self,
        image: Images,
        question: str,
        method: str | Method = "regular",
        *,
        evidence: bool = False,
        history: Sequence[Turn] = (),
        schedule: str = "auto",
        share_views: bool = False,
        views: Sequence[Images | Sample] = (),
        doubts: bool | str | Sequence[str] = False,
        **settings: Unpack[SettingsOptions],
    ) -> Answer:
        """Answer a question about an image.

        Args:
            image: A path, a URL (http, https or data), a file's bytes, a file object, a PIL image,
                an array or a tensor (see `secondsight.images.ImageSource`); several of them in a
                list, in the order in which the model is shown them; None for no image.
            question: The question.
            method: A decoding method, or its text form such as ``ritual:alpha=2``.
            evidence: Whether to keep what speaks for every token.
            history: Earlier turns of the conversation about this image.
            schedule: When the views are read; the answer does not depend on it.
            share_views: Whether what the views draw (RITUAL's transform, VCD's noise) depends on
                the image alone, so that all questions on it share the views.
            views: What the views after the original see, where the method is not to make them
                itself: an image for each (AGLA's masked one, say), or a whole `Sample`.
            doubts: Whether the model is asked about what it has stated, so that the answer has
                `Answer.doubts`: about COCO's objects, or a list of names, ``nouns``, or a synonym
                file in CHAIR's format.
            **settings: The fields of `Settings`: ``max_new_tokens``, ``temperature``, ``top_p``,
                ``top_k``, ``repetition_penalty``, ``stop``, ``seed``; for beam search
                ``num_beams``, ``length_penalty``, ``early_stopping``, ``num_return_sequences``.

        Returns:
            The answer; the same one that the question gets in any batch.

        Raises:
            UserError: Something given cannot be used; the message says what to do.
        """
        sample = Sample(image, question, history=as_turns(history))
        chosen = settings_from(settings)
        given = as_views(views)
        request = Request(sample, method, chosen, evidence, schedule, share_views, given, doubts)
        ticket = self.submit(request)
        try:
            return ticket.result()
        finally:
            ticket.cancel()

    def answer_batch(
        self,
        samples: Iterable[Sample | tuple[Images, str]],
        method: str | Method = "regular",
        *,
        evidence: bool = False,
        schedule: str = "auto",
        share_views: bool = False,
        batch_size: int | Literal["auto"] = 8,
        doubts: bool | str | Sequence[str] = False,
        **settings: Unpack[SettingsOptions],
    ) -> list[Answer]:
        """Answer many questions by one method, any mixture of images, sizes and lengths.

        Args:
            samples: Samples, or pairs of an image (or several, or None) and a question.
            method: As for `answer`, and so for all that is not named here.
            evidence: See `answer`.
            schedule: See `answer`.
            share_views: See `answer`.
            batch_size: How many samples are answered together; ``auto`` goes by free memory.
                Fewer are where memory runs out all the same.
            doubts: See `answer`.
            **settings: See `answer`; each sample draws from its own numbers, by the seed and its
                id.

        Returns:
            The answers, in the order of the samples, each equal to that of a single run.
        """
        chosen = settings_from(settings)
        requests = [
            Request(
                one,
                method,
                chosen,
                evidence,
                schedule,
                share_views,
                doubts=doubts,
            )
            for one in as_samples(samples)
        ]
        answers = dict(self.answers(requests, batch_size=batch_size))
        return [answers[number] for number in range(len(requests))]

    def answers(
        self, requests: Iterable[Request], *, batch_size: int | Literal["auto"] = 8
    ) -> Iterator[tuple[int, Answer]]:
        """Answer requests, any mixture of methods, settings and lengths, as they finish.

        Args:
            requests: The requests; an iterator is asked for more as there is place.
            batch_size: How many are answered at a time; ``auto`` goes by free memory.

        Yields:
            The request's number and its answer, equal to that of a call of its own.

        Raises:
            UserError: One of them cannot be answered.
        """
        for number, outcome in self.outcomes(requests, batch_size=batch_size):
            if not isinstance(outcome, Answer):
                raise outcome
            yield number, outcome

    def outcomes(
        self, requests: Iterable[Request], *, batch_size: int | Literal["auto"] = 8
    ) -> Iterator[tuple[int, Answer | UserError]]:
        """Answer requests as `answers` does, with what is wrong with one in place of its answer.

        The next requests are prepared by threads meanwhile. A list is answered in an order in
        which questions on one image, and similar lengths, are together.

        Args:
            requests: See `answers`.
            batch_size: See `answers`.

        Yields:
            The request's number and its answer or its error, as they finish.
        """
        asked = checked_batch_size(batch_size)
        listed = requests if isinstance(requests, Sequence) else None
        if asked is None:
            listed = listed if listed is not None else list(requests)
            asked = self._fitting(listed)
        queue = iter(enumerate(requests)) if listed is None else _ordered(listed, asked)
        if listed is not None and len(listed) == 1:
            yield 0, self._outcome(listed[0])
            return
        yield from self._in_turn(queue, asked)

    def _outcome(self, request: Request) -> Answer | UserError:
        try:
            ticket = self.submit(request)
        except UserError as error:
            return error
        try:
            return ticket.result()
        except UserError as error:
            return error
        finally:
            ticket.cancel()

    def _in_turn(
        self, queue: Iterator[tuple[int, Request]], batch_size: int
    ) -> Iterator[tuple[int, Answer | UserError]]:
        waiting: deque[tuple[int, Future[PreparedRequest]]] = deque()
        running: dict[Ticket, int] = {}
        ended: deque[Ticket] = deque()
        pool = ThreadPoolExecutor(PREPARING_THREADS, thread_name_prefix="secondsight-prepare")
        try:
            while True:
                for number, request in itertools.islice(queue, batch_size - len(waiting)):
                    waiting.append((number, pool.submit(self.prepare, request)))
                if not waiting and not running:
                    return
                while waiting and len(running) < batch_size:
                    number, future = waiting.popleft()
                    try:  # in order, so that who is answered with whom does not depend on threads
                        prepared = future.result()
                    except UserError as error:
                        yield number, error
                        continue
                    ticket = self.start(prepared)
                    running[ticket] = number
                    ticket.add_done_callback(ended.append)
                if not running:
                    continue  # those that were waiting have failed; there may be more
                self.runner.run_until(lambda: bool(ended))
                while ended:
                    ticket = ended.popleft()
                    number = running.pop(ticket)
                    try:
                        yield number, ticket.result()
                    except UserError as error:
                        yield number, error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for ticket in running:
                ticket.cancel()

    def _fitting(self, requests: Sequence[Request]) -> int:
        if not requests:
            return 1
        longest = max(requests, key=lambda request: len(request.sample.question))
        sample = longest.sample.checked().opened()
        prompt = self.backbone.encode(sample)["input_ids"].shape[1]
        tokens = max(request.settings.max_new_tokens for request in requests)
        positions = min(prompt + tokens, self.encoder.context_length)
        views = max(len(method.views(sample)) for method in {one.decoding for one in requests})
        hypotheses = max(most_hypotheses(one.decoding, one.settings) for one in requests)
        return fitting_batch_size(self.hf_model, positions, views * hypotheses)

    def prepare(self, request: Request) -> PreparedRequest:
        """Prepare a request: open its images, make its views, encode their prompts.

        Raises:
            UserError: Something in it cannot be used.
        """
        return prepare(self.backbone, request, self._ask)

    def submit(
        self,
        request: Request,
        listener: Listener | None = None,
        *,
        observer: Observer | None = None,
    ) -> Ticket:
        """Prepare a request and queue it; it is written while somebody runs the engine.

        Args:
            request: The request.
            listener: Told of every token, by the thread that makes the step.
            observer: Told of every step; makes every view be read at every step.

        Returns:
            The ticket, whose `result` is the answer.

        Raises:
            UserError: Something in it cannot be used.
        """
        return self.start(self.prepare(request), listener, observer=observer)

    def start(
        self,
        prepared: PreparedRequest,
        listener: Listener | None = None,
        *,
        observer: Observer | None = None,
    ) -> Ticket:
        """Queue a prepared request; the arguments are those of `submit`.

        Args:
            prepared: The request.
            listener: See `submit`; where the answer is repaired, told of every checked sentence.
            observer: See `submit`; where the answer is rewritten, told of every draft's steps.
        """
        if prepared.checking is None:
            return DirectTicket(
                self.backbone, self.runner, prepared, listener=listener, observer=observer
            )
        return CheckedTicket(
            self.backbone,
            self.runner,
            prepared,
            prepared.checking,
            self.calibrations,
            listener=listener,
            observer=observer,
        )

    def run_while(self, condition: Callable[[], bool]) -> None:
        """Run the engine for all callers, and sleep while nothing is queued.

        Args:
            condition: Asked between steps; call ``runner.notify()`` when it has become false.
        """
        self.runner.run_until(lambda: not condition())

    def _ask(self, sample: Sample, question: str) -> str:
        return self.answer(sample.image, question, max_new_tokens=ASK_FIRST_TOKENS).text

    def stream(
        self,
        image: Images,
        question: str,
        method: str | Method = "regular",
        *,
        history: Sequence[Turn] = (),
        schedule: str = "auto",
        share_views: bool = False,
        **settings: Unpack[SettingsOptions],
    ) -> Stream:
        """Answer piece by piece; the arguments are those of `answer`.

        Returns:
            An iterator over pieces of text that never splits a character; joined they are the
            answer's text. Its `answer` is the whole answer once it has ended. Closing it or
            letting go of it ends the writing within a step.
        """
        request = Request(
            Sample(image, question, history=as_turns(history)),
            method,
            settings_from(settings),
            schedule=schedule,
            share_views=share_views,
        )
        return Stream(partial(self.submit, request), self.runner)

    def trace(
        self,
        image: Images,
        question: str,
        method: str | Method = "regular",
        *,
        history: Sequence[Turn] = (),
        schedule: str = "auto",
        share_views: bool = False,
        views: Sequence[Images | Sample] = (),
        attentions: bool = True,
        rollout: bool = False,
        layers: str | Collection[int] = (),
        keep: str | Path | None = None,
        **settings: Unpack[SettingsOptions],
    ) -> Any:
        """Answer, and record everything on the way; the answer is that of `answer`.

        Args:
            image: As for `answer`, and so for all that is not named here.
            question: See `answer`.
            method: See `answer`.
            history: See `answer`.
            schedule: See `answer`; recording reads every view at every step.
            share_views: See `answer`.
            views: See `answer`.
            attentions: Whether to record attention to the patches.
            rollout: Whether to roll attention out through the layers as well.
            layers: Layers to show one by one, calls and heads: numbers, or text such as ``0,4-7``
                or ``all``.
            keep: A file for the whole tensors, in safetensors' format.
            **settings: See `answer`; at most 64 new tokens if left out.

        Returns:
            The `secondsight.trace.Trace`, which writes itself as HTML, Markdown or JSON.
        """
        from secondsight.trace import Options, record

        chosen = settings_from({"max_new_tokens": 64, **settings})
        sample = Sample(image, question, history=as_turns(history))
        request = Request(sample, method, chosen, False, schedule, share_views, as_views(views))
        return record(
            self, request, Options(attentions=attentions, rollout=rollout, layers=layers, keep=keep)
        )


def _ordered(requests: Sequence[Request], batch_size: int) -> Iterator[tuple[int, Request]]:
    """Requests with their numbers, window by window, alike ones together."""
    for start in range(0, len(requests), WINDOW * batch_size):
        window = requests[start : start + WINDOW * batch_size]
        for place in order([one.sample for one in window], batch_size):
            yield start + place, window[place]
