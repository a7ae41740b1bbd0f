"""The callable for ``generate(custom_generate=...)``: a few sequences and a ``while``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteriaList,
    StopStringCriteria,
)
from transformers.generation import GenerateDecoderOnlyOutput
from transformers.generation.streamers import BaseStreamer

from secondsight.answer import FinishReason
from secondsight.decoding.changes import Edits, edits_of
from secondsight.decoding.collate import ModelInputs
from secondsight.decoding.engine import Engine
from secondsight.decoding.exits import exits_of
from secondsight.decoding.record import Record
from secondsight.decoding.requests import refuse_unsupported
from secondsight.decoding.rows import OWN_INPUTS, Prompt, constants_of, prompts_of
from secondsight.decoding.sampling import draw, generator, reads_scores
from secondsight.decoding.schedule import check_schedule
from secondsight.decoding.sequence import Prepared
from secondsight.decoding.step import Observer
from secondsight.decoding.transformers5 import (
    hidden_arguments,
    padding_token,
    tokenizer_of,
)
from secondsight.errors import UnsupportedError
from secondsight.methods import Method, create
from secondsight.sample import Sample
from secondsight.views import View, inside

ViewInputs = ModelInputs | Sequence[ModelInputs]
"""The inputs of one view: of the whole batch, batch first, or of each sample."""


def decode(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    method: str | Method = "regular",
    views: Sequence[ViewInputs] = (),
    seeds: Sequence[int] | None = None,
    schedule: str = "auto",
    observer: Observer | None = None,
    stop_strings: str | list[str] | None = None,
    **model_kwargs: Any,
) -> GenerateDecoderOnlyOutput | torch.Tensor:
    """Generate with a decoding method: ``model.generate(..., custom_generate=secondsight.decode)``.

    `generate` prepares inputs, logits processors, stopping criteria and the streamer as usual;
    greedy means the argmax of the combined scores, sampling draws from them.

    Args:
        model: Passed by `generate`.
        input_ids: Passed by `generate`: the original view's ids, of shape (batch, tokens).
        logits_processor: Passed by `generate`; sees the combined scores, after plausibility.
        stopping_criteria: Passed by `generate`.
        generation_config: Passed by `generate`.
        method: A method or its text form, such as ``ritual:alpha=2``.
        views: The model inputs of every view after the original, as ``model.encode`` returns
            them, of any lengths: batch first, or a list with the inputs of each sample.
        seeds: One seed per sample for sampling; drawn from torch's global generator if left out.
        schedule: ``auto``, ``joint`` or ``lazy``: when the views are read. The answer is the same.
        observer: Called with every step of every sample; makes every view be read at every step.
        stop_strings: As `generate`'s; needs a model loaded by `secondsight.load`.
        **model_kwargs: Passed by `generate`: the original view's other inputs.

    Returns:
        What `generate` returns for the original view: ids, or transformers' output class.

    Raises:
        UnsupportedError: The method needs another number of views; beam search; anything else
            that could only be ignored.
    """
    asked = hidden_arguments()
    refuse_unsupported(generation_config, asked, model_kwargs)
    if stop_strings is not None:
        criterion = StopStringCriteria(tokenizer_of(model), stop_strings)
        stopping_criteria = StoppingCriteriaList([*stopping_criteria, criterion])
    chosen, batch = create(method), len(input_ids)
    beyond = "searches" if chosen.search() is not None else "asks about a text"
    if chosen.search() is not None or chosen.checks() is not None:
        raise UnsupportedError(
            f"{chosen.name} {beyond}, which generate(custom_generate=...) does not do: use "
            "model.answer."
        )
    given = {key: value for key, value in model_kwargs.items() if key not in OWN_INPUTS}
    original = {"input_ids": input_ids, **given}
    needed = chosen.views(Sample(image=None, question=""))
    edits = edits_of([inside(view, generator(0)) for view in needed])
    inputs = (original, *_others(views, batch, chosen, needed))
    by_view = [_rows(prompts_of(view), own) for view, own in zip(inputs, edits, strict=True)]
    record = Record(generation_config, input_ids.shape[1])
    engine = Engine(model, options=record.options)
    together = any(len(prompt) > 1 for view in by_view[1:] for prompt, _ in view)
    sampler = BatchSampler(
        engine,
        record,
        input_ids,
        logits_processor,
        stopping_criteria,
        generation_config,
        seeds=seeds,
        streamer=asked.get("streamer"),
        together=together,
    )
    check_schedule(schedule)
    exits, constants = exits_of(model, chosen, input_ids), constants_of(original)
    for rows in zip(*by_view, strict=True):
        prepared = Prepared(chosen, rows, lambda: sampler, schedule, constants, exits)
        engine.add(prepared, observer=observer)
    while not sampler.finished:
        for update in engine.step():
            if update.sequence.error is not None:
                raise update.sequence.error
    return sampler.result()


class BatchSampler:
    """The sampler of the samples of one `generate` call, which are processed as a batch.

    Logits processors and stopping criteria always see the whole batch, whoever has finished.

    Args:
        engine: Runs the sequences of the samples, and nothing else.
        record: What is returned besides ids; if anything is, no sample leaves before the last.
        input_ids: The prompts, int64 of shape (batch, tokens).
        processors: Applied to the scores of all.
        criteria: When a sample ends.
        config: The generation configuration.
        seeds: Of the draws of each sample.
        streamer: Gets every token as it is chosen.
        together: Whether the samples' views can only be read together.
    """

    def __init__(
        self,
        engine: Engine,
        record: Record,
        input_ids: torch.Tensor,
        processors: LogitsProcessorList,
        criteria: StoppingCriteriaList,
        config: GenerationConfig,
        *,
        seeds: Sequence[int] | None,
        streamer: BaseStreamer | None,
        together: bool,
    ) -> None:
        batch, self._length = input_ids.shape
        room = max(config.max_length - self._length, 0)
        self._ids = torch.cat([input_ids, input_ids.new_zeros((batch, room))], dim=-1)
        self._engine, self._record = engine, record
        self._processors, self._criteria, self._streamer = processors, criteria, streamer
        self._generators = _generators(seeds, batch) if config.do_sample else None
        self._unfinished = torch.ones(batch, dtype=torch.bool, device=input_ids.device)
        pads = any(hasattr(criterion, "eos_token_id") for criterion in criteria)
        self._pad = padding_token(config) if pads else None
        self._steps = 0
        self.watched = together or record.scores is not None or reads_scores(processors)
        self.finished = room == 0

    @property
    def _sequences(self) -> torch.Tensor:
        return self._ids[:, : self._length]

    @property
    def _running(self) -> list[int]:
        return [sequence.number for sequence in self._engine.running]

    def process(self, scores: torch.Tensor) -> torch.Tensor:
        """See `Sampler.process`."""
        if not self._processors:
            return scores
        running = self._running
        everyone = scores.new_zeros((len(self._ids), scores.shape[-1]))
        everyone[running] = scores
        return self._processors(self._sequences, everyone)[running]

    def choose(self, scores: torch.Tensor) -> torch.Tensor:
        """See `Sampler.choose`."""
        running = self._running
        self._record.add(self._engine, scores, steps=self._steps)
        tokens = (
            scores.argmax(dim=-1)
            if self._generators is None
            else draw(scores, [self._generators[sample] for sample in running])
        )
        if self._pad is not None:
            tokens = tokens.masked_fill(~self._unfinished[running], self._pad)
        return tokens

    def write(self, tokens: Sequence[int]) -> list[FinishReason | None]:
        """See `Sampler.write`."""
        running = self._running
        column = self._ids[:, self._length]
        column.fill_(self._pad or 0)
        column[running] = torch.tensor(tokens, device=column.device)
        self._length += 1
        self._steps += 1
        # `generate` hands the scores that it records to stopping criteria.
        self._unfinished &= ~self._criteria(self._sequences, self._record.scores)
        if self._streamer is not None:
            self._streamer.put(column.cpu())
        self.finished = not bool(self._unfinished.any())
        if self.finished:
            self._record.close()
        leaves = [self.finished or not self._record.wanted] * len(running)
        still = self._unfinished[running].tolist()
        return [
            "stop" if leave and not on else None for leave, on in zip(leaves, still, strict=True)
        ]

    def result(self) -> GenerateDecoderOnlyOutput | torch.Tensor:
        """End the stream; what `generate` returns."""
        if self._streamer is not None:
            self._streamer.end()
        return self._record.result(self._sequences)


def _rows(prompts: Sequence[Prompt], edits: Edits | None) -> list[tuple[Prompt, int]]:
    for prompt in prompts:
        prompt.edits = edits
    return [(prompt, place) for prompt in prompts for place in range(len(prompt))]


def _others(
    views: Sequence[ViewInputs], batch: int, method: Method, every: Sequence[View]
) -> list[ViewInputs]:
    """The other views' inputs, repeated where `generate` returns several sequences per sample."""
    needed = every[1:]
    if len(views) != len(needed):
        names = ", ".join(view.name for view in needed) or "none"
        raise UnsupportedError(
            f"{method.spec} needs the inputs of {len(needed)} views besides the original "
            f"({names}), and views= holds {len(views)}."
        )
    return [_repeated(view, batch, wanted.name) for view, wanted in zip(views, needed, strict=True)]


def _repeated(view: ViewInputs, batch: int, name: str) -> ViewInputs:
    rows = view["input_ids"].shape[0] if isinstance(view, Mapping) else len(view)
    if rows == 0 or batch % rows:
        raise UnsupportedError(
            f"The view {name!r} has {rows} rows and the original {batch}: one per sample."
        )
    times = batch // rows
    if times == 1:
        return view
    if not isinstance(view, Mapping):
        return [inputs for inputs in view for _ in range(times)]
    return {
        key: value.repeat_interleave(times, dim=0)
        if isinstance(value, torch.Tensor) and value.shape[:1] == (rows,)
        else value
        for key, value in view.items()
    }


def _generators(seeds: Sequence[int] | None, batch: int) -> list[torch.Generator]:
    if seeds is None:
        seeds = torch.randint(2**62, (batch,)).tolist()
    if len(seeds) != batch:
        raise UnsupportedError(
            f"There are {len(seeds)} seeds for {batch} samples: give one per sample."
        )
    return [generator(int(seed)) for seed in seeds]
