"""The loop: a callable for ``generate(custom_generate=...)`` that owns the decoding step only."""

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

from secondsight.decoding.cache import CACHE
from secondsight.decoding.collate import ModelInputs, padding_id
from secondsight.decoding.cost import Cost
from secondsight.decoding.generation import Generation, Part
from secondsight.decoding.looks import Looks
from secondsight.decoding.observer import Observer
from secondsight.decoding.prefixes import Prefixes
from secondsight.decoding.record import Record
from secondsight.decoding.requests import from_generate, reads_scores, refuse_unsupported
from secondsight.decoding.rows import Rows, ViewInputs, constants_of
from secondsight.decoding.sampling import generator
from secondsight.decoding.schedule import Schedule
from secondsight.decoding.tokenizers import tokenizer_of
from secondsight.decoding.writer import Writer
from secondsight.errors import UnsupportedError
from secondsight.methods import Method, create
from secondsight.sample import Sample


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
    view_inputs: Sequence[Sequence[ModelInputs]] | None = None,
    prefixes: Prefixes | None = None,
    paused: bool = False,
    **model_kwargs: Any,
) -> GenerateDecoderOnlyOutput | torch.Tensor | Generation:
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
        observer: Called with every step; makes every view be read at every step.
        stop_strings: As `generate`'s; needs a model loaded by `secondsight.load`.
        view_inputs: The inputs of every view and sample, the original first, in place of `views`
            and of what `generate` was given besides ids; images are then encoded when read.
        prefixes: Which beginnings of the prompts in `view_inputs` are shared, and where they are.
        paused: Whether to return the generation before its first step, to be run step by step
            and joined with others.
        **model_kwargs: Passed by `generate`: the original view's other inputs.

    Returns:
        What `generate` returns: ids, or transformers' output class, for the original view; or
        the paused generation.

    Raises:
        UnsupportedError: The method needs another number of views; beam search; anything else
            that could only be ignored.
    """
    asked = from_generate()
    refuse_unsupported(generation_config, asked, model_kwargs)
    if stop_strings is not None:
        criterion = StopStringCriteria(tokenizer_of(model), stop_strings)
        stopping_criteria = StoppingCriteriaList([*stopping_criteria, criterion])
    chosen = create(method)
    original = _original(input_ids, model_kwargs)
    all_views: Sequence[ViewInputs] = view_inputs or [
        original,
        *_others(views, len(input_ids), chosen),
    ]
    rows = Rows(
        model,
        all_views,
        constants_of(original),
        pad_id=padding_id(model),
        max_new_tokens=generation_config.max_length - input_ids.shape[1],
        prefixes=prefixes.of if prefixes else (),
        kept=prefixes.kept if prefixes else None,
    )
    record = Record(rows, generation_config, input_ids.shape[1])
    watched = (
        observer is not None
        or record.scores is not None
        or not rows.divisible
        or reads_scores(logits_processor)
    )
    part = Part(
        Writer(input_ids, generation_config, stopping_criteria, asked.get("streamer")),
        logits_processor,
        _generators(seeds, len(input_ids)) if generation_config.do_sample else None,
        record,
        observer,
    )
    looks = Looks(rows, chosen, Schedule(schedule, Cost.of(model), watched=watched))
    generation = Generation(rows, looks, part)
    return generation if paused else generation.run()


def _original(input_ids: torch.Tensor, model_kwargs: dict[str, Any]) -> dict[str, Any]:
    """The original view's inputs, less what the loop decides itself."""
    ours = (CACHE, "use_cache", "output_attentions", "output_hidden_states")
    kept = {key: value for key, value in model_kwargs.items() if key not in ours}
    return {"input_ids": input_ids, **kept}


def _others(views: Sequence[ViewInputs], batch: int, method: Method) -> list[ViewInputs]:
    """The other views' inputs, repeated where `generate` returns several sequences per sample."""
    needed = method.views(Sample(image=None, question=""))[1:]
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
