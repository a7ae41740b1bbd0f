"""A model of lmms-eval: any of its image tasks, by any method, batched by the engine.

``lmms-eval --model secondsight --model_args pretrained=NAME,method=ritual --tasks pope``
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from accelerate import PartialState
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from loguru import logger
from tqdm import tqdm

from secondsight.checkpoints import load
from secondsight.errors import ImageError, UnsupportedError, UserError, nearest, shown
from secondsight.integrations.conversations import as_sample
from secondsight.methods import Method, create
from secondsight.request import Request
from secondsight.sample import Sample
from secondsight.settings import Settings

_LONGEST: Final = 1024
"""New tokens where a task sets no limit: what lmms-eval's own LLaVA class takes."""

_DRAWING: Final = ("temperature", "top_p", "top_k")
_SETTINGS: Final = (
    "max_new_tokens",
    *_DRAWING,
    "num_beams",
    "length_penalty",
    "early_stopping",
    "repetition_penalty",
)
"""What tasks set and `Settings` has by the same name."""

_IGNORED: Final = ("do_sample", "until", "use_cache", "image_sizes", "image_aspect_ratio")
"""What tasks set for other models: read elsewhere here, or of no meaning."""

_MOST_ROUNDS: Final = 100
"""A task whose questions do not depend on the round would never end."""


@dataclass
class _Question:
    """What lmms-eval asks about a document: one question, or a conversation's rounds.

    Attributes:
        name: Its name, which its random numbers come from.
        rows: The dataset; a row of it is read, and its images decoded, when it is asked about.
        row: The number of the document.
        to_messages: The task's function from a document to messages.
        options: The task's generation settings.
        texts: The answers of the rounds so far.
        info: What the task remembers from round to round.
    """

    name: str
    rows: Any
    row: int
    to_messages: Any
    options: Mapping[str, Any]
    texts: list[Any] = field(default_factory=list)
    info: Any = None

    def messages(self, number: int) -> Any:
        """The messages of round `number`, from 0; None where the conversation has ended."""
        document = self.rows[self.row]
        if number == 0:
            return self.to_messages(document)
        given = self.to_messages(
            document,
            round_idx=number,
            previous_output=list(self.texts),
            previous_round_info=self.info,
        )
        if not (isinstance(given, tuple) and len(given) == 4):
            return None  # of a task that has one round
        messages, ended, texts, self.info = given
        if isinstance(texts, list | tuple):  # a task may have them from elsewhere
            self.texts = list(texts)
        return None if ended else messages


class SecondSight(lmms):
    """secondsight's models in lmms-eval.

    Args:
        pretrained: A checkpoint folder or hub id; ``bundled`` for the small model that ships.
        method: A decoding method. lmms-eval splits its arguments at commas, so parameters are
            separated by ``;``: ``method=vcd:alpha=2;step=300``.
        batch_size: How many requests are answered at a time; ``auto`` goes by free memory, and
            has all of a task's images open.
        device: As `secondsight.load`'s; each process of ``accelerate launch`` has its own.
        seed: Of everything that is drawn; a document's numbers also come from its task and place.
        system_prompt: A system text for conversations without one, or a file that holds it.
        schedule: When views are read; answers do not depend on it.
        share_views: Whether questions on one image share what the views draw.
        until: Whether answers end at a task's ``until`` texts. lmms-eval's own models of the LLaVA
            kind do not look at them, and numbers are to be compared.
        errors: ``raise`` stops at a request that cannot be answered; ``empty`` logs it and gives
            an empty answer, which counts as a wrong one.
        max_batch_size: lmms-eval's; `batch_size` says it all.
        **loading: Other arguments of `secondsight.load`: ``dtype``, ``revision``, ``preset``, ...

    Raises:
        UserError: An argument that there is not, or that cannot be used.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str = "bundled",
        method: str = "regular",
        batch_size: int | str = 8,
        device: str | None = None,
        seed: int = 0,
        system_prompt: str | None = None,
        schedule: str = "auto",
        share_views: bool = False,
        until: bool = False,
        errors: Literal["raise", "empty"] = "raise",
        max_batch_size: int | None = None,
        **loading: Any,
    ) -> None:
        super().__init__()
        known = set(inspect.signature(load).parameters) - {"model", "device"}
        for name in loading:
            if name not in known:
                here = {*inspect.signature(type(self)).parameters} - {"loading"}
                raise UserError(f"There is no argument {name!r}.{nearest(name, known | here)}")
        if errors not in ("raise", "empty"):
            raise UserError(f"errors is 'raise' or 'empty', not {shown(errors)}.")
        self.method = create(str(method).replace(";", ","))
        self.batch_size: int | Literal["auto"] = (
            "auto" if str(batch_size).startswith("auto") else int(batch_size)
        )
        self._rank, self._world_size, place = _process(device)
        chosen = None if pretrained == "bundled" else pretrained
        self.secondsight = load(chosen, device=place, **loading)
        self.seed = int(seed)
        self.system_prompt = self._resolve_system_prompt(system_prompt) if system_prompt else None
        self.schedule, self.share_views = schedule, bool(share_views)
        self.until, self.errors = bool(until), errors
        self._blind: Method | None = None
        self._told: set[str] = set()
        logger.info(f"secondsight: {self.secondsight.name}, {self.method.spec}, on {self.device}")

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.secondsight.hf_model.device
        return device

    @property
    def model(self) -> torch.nn.Module:
        """The transformers model."""
        return self.secondsight.hf_model

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.secondsight.tokenizer

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Answer requests, in any mixture of generation settings.

        Raises:
            UserError: One of them cannot be answered, and `errors` is ``raise``.
        """
        return self._answered(self._questions(requests))

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[list[str]]:
        """Answer tasks whose questions depend on earlier answers, a round of all at a time.

        Returns:
            The answers of every round, for each request.

        Raises:
            UserError: One of them cannot be answered, and `errors` is ``raise``; or a task goes on
                asking.
        """
        questions = going = self._questions(requests)
        for number in range(_MOST_ROUNDS):
            answered = zip(going, self._answered(going, number), strict=True)
            going = []
            for question, answer in answered:
                if answer is not None:
                    question.texts.append(answer.text)
                    going.append(question)
            if not going:
                return [question.texts for question in questions]
        raise UnsupportedError(f"{going[0].name}: there is no end after {_MOST_ROUNDS} rounds.")

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Refused: a method decides what is written, and tasks of this kind write nothing.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "Decoding methods write answers, and a loglikelihood task compares given ones. Choose "
            "the task's generate_until form."
        )

    def _questions(self, requests: Sequence[Instance]) -> list[_Question]:
        """What is asked, each with a name of its own.

        Random numbers come from the names, and so the repetitions of a request differ.
        """
        seen: Counter[str] = Counter()
        questions = []
        for request in requests:
            _, to_messages, options, row, task, split = request.args
            name = f"{task}/{split}/{row}"
            seen[name] += 1
            if seen[name] > 1:
                name = f"{name}#{seen[name]}"
            rows = self.task_dict[task][split]
            questions.append(_Question(name, rows, row, to_messages, dict(options or {})))
        return questions

    def _answered(self, questions: Sequence[_Question], number: int = 0) -> list[Any]:
        """Ask a round of everybody; None where a conversation has ended."""
        results: list[GenerationResult | None] = [None] * len(questions)
        places: list[int] = []

        def asked() -> Iterator[Request]:
            for place, question in enumerate(questions):
                try:
                    messages = question.messages(number)
                    if messages is None:
                        continue
                    name = f"{question.name}/{number}" if number else question.name
                    sample = as_sample(messages, name, system=self.system_prompt)
                    request = Request(
                        sample,
                        self._method_for(sample),
                        self._settings(question.options),
                        schedule=self.schedule,
                        share_views=self.share_views,
                    )
                except UserError as error:
                    results[place] = self._failed(question, error)
                    continue
                places.append(place)
                yield request

        hidden = self.rank != 0
        with tqdm(total=len(questions), disable=hidden, desc=self.method.spec) as progress:
            outcomes = self.secondsight.outcomes(asked(), batch_size=self.batch_size)
            for which, outcome in outcomes:
                place = places[which]
                if isinstance(outcome, UserError):
                    results[place] = self._failed(questions[place], outcome)
                else:
                    counts = TokenCounts(output_tokens=len(outcome.ids))
                    results[place] = GenerationResult(outcome.text, counts)
                progress.update()
        return results

    def _method_for(self, sample: Sample) -> Method:
        """The method; regular where there is no image, and the method cannot do without one."""
        if sample.image is not None:
            return self.method
        if self._blind is None:
            self._blind = self.method
            try:
                self.secondsight.prepare(Request(sample, self.method))
            except ImageError as error:
                self._blind = create("regular")
                self._tell(f"{error} Questions without an image get regular decoding.")
        return self._blind

    def _failed(self, question: _Question, error: UserError) -> GenerationResult:
        """What stands for an answer that there is not."""
        if self.errors == "raise":
            raise UserError(f"{question.name}: {error}") from error
        logger.error(f"{question.name} is answered with nothing, which counts as wrong: {error}")
        return GenerationResult("", TokenCounts(output_tokens=0))

    def _settings(self, options: Mapping[str, Any]) -> Settings:
        """A task's generation settings as ours."""
        for name in options.keys() - {*_SETTINGS, *_IGNORED}:
            self._tell(f"secondsight has no {name}, which a task sets to {shown(options[name])}.")
        found = {name: options[name] for name in _SETTINGS if options.get(name) is not None}
        if options.get("do_sample") is False and found.get("temperature"):
            self._tell("A task sets a temperature and do_sample=False: its answers are greedy.")
            found["temperature"] = 0.0
        if not found.get("temperature"):
            found = {name: value for name, value in found.items() if name not in _DRAWING}
        elif found.get("top_p") == 0:
            del found["top_p"]  # a word of tasks for not using it
        until = options.get("until") or ()
        stop = (until,) if isinstance(until, str) else tuple(until)
        return Settings(
            **{"max_new_tokens": _LONGEST, **found},
            stop=tuple(filter(None, stop)) if self.until else (),
            seed=self.seed,
        )

    def _tell(self, what: str) -> None:
        """Log a warning once."""
        if what not in self._told:
            self._told.add(what)
            logger.warning(what)


def _process(device: str | None) -> tuple[int, int, str]:
    """The process's number, how many there are, and the device that it takes."""
    state = PartialState()
    if state.num_processes == 1:
        return 0, 1, device or "auto"
    return state.process_index, state.num_processes, str(state.device)
