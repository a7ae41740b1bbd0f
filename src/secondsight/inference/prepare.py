"""From a request to what the engine takes: images opened, views made, prompts encoded.

Everything here is done on the CPU and may be done in any thread while the model is busy.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from secondsight.decoding.beams import Search
from secondsight.decoding.changes import Edits, edits_of
from secondsight.decoding.collate import TOKEN_ALIGNED
from secondsight.decoding.exits import exits_of
from secondsight.decoding.rows import Prompt, constants_of
from secondsight.decoding.sampling import OwnSampler, derive_seed, generator
from secondsight.decoding.schedule import check_schedule
from secondsight.decoding.sequence import Prepared
from secondsight.decoding.sharing import Prefix
from secondsight.decoding.watching import WatchAnswer
from secondsight.errors import MethodError, UserError
from secondsight.inference.backbone import Backbone
from secondsight.inference.checkable import check_checkable
from secondsight.inference.ending import Ending, end_ids
from secondsight.layout import image_slot, prompt_layout
from secondsight.methods import Method
from secondsight.methods.checks import Checking
from secondsight.methods.returned import checked_views
from secondsight.request import Request
from secondsight.sample import Sample
from secondsight.settings import Settings
from secondsight.views import NoImage

Ask = Callable[[Sample, str], str]
"""Puts a method's own question about a sample to the model, and returns its reply."""


@dataclass(frozen=True, eq=False)
class PreparedRequest:
    """A request with everything that was made of it.

    Attributes:
        request: The request.
        method: Its method.
        checking: What is done with the answer once it is written; None for nothing.
        sample: Its sample, images opened.
        seen: The sample as each view sees it, the original first.
        names: The views' names.
        inputs: The model inputs of each view, on the CPU.
        generation: What `generate` made of the settings.
        prepared: What the engine takes.
        seconds: How long preparing took.
        digest: Tells the sample's images from others.
    """

    request: Request
    method: Method
    checking: Checking | None
    sample: Sample
    seen: tuple[Sample, ...]
    names: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]
    generation: Generation
    prepared: Prepared
    seconds: float
    digest: str

    def without_images(self) -> PreparedRequest:
        """The same without the images themselves, which only a report needs from here on."""
        request = replace(self.request, sample=replace(self.request.sample, image=None), views=())
        seen = tuple(replace(one, image=None) for one in self.seen)
        return replace(self, request=request, sample=replace(self.sample, image=None), seen=seen)

    @property
    def choices(self) -> tuple[str | None, ...]:
        """What each view drew, in words."""
        return tuple(one.choice for one in self.seen)


@dataclass(frozen=True, eq=False)
class Generation:
    """What transformers' `generate` makes of settings: it is the factory of these.

    Attributes:
        config: The generation configuration.
        processors: Logits processors and warpers.
        criteria: Its stopping criteria, for the record; an answer's end is `Ending`'s to say.
        constants: Inputs of every forward pass that belong to no prompt.
    """

    config: GenerationConfig
    processors: LogitsProcessorList
    criteria: StoppingCriteriaList
    constants: Mapping[str, Any]


def prepare(backbone: Backbone, request: Request, ask: Ask) -> PreparedRequest:
    """Look at a request's sample in every view of its method.

    Args:
        backbone: The model.
        request: The request.
        ask: Called where the method asks the model something before it answers.

    Raises:
        UserError: An image, the question, the method or a setting cannot be used.
    """
    start = time.perf_counter()
    check_schedule(request.schedule)
    method, settings, checking = request.decoding.writer, request.settings, request.checking
    if method.search() is not None:  # which draws nothing, whatever the temperature
        settings = replace(settings, temperature=0.0, top_p=1.0, top_k=None)
    sample = request.sample.checked().opened()
    seed = derive_seed(settings.seed, sample.identity)
    question = method.ask_first(sample)
    if question is not None:
        sample = replace(sample, reply=ask(sample, question))
    views = checked_views(method, sample)
    views_seed = derive_seed(settings.seed, sample.digest) if request.share_views else seed
    draws = generator(derive_seed(views_seed, "views"))
    if request.views:
        seen = (sample, *_given(request, sample, [view.name for view in views[1:]]))
    else:
        seen = tuple(view.apply(sample, draws) for view in views)
    if checking is not None:
        check_checkable(backbone.tokenizer, checking, method, settings, seen)
    inputs = tuple(backbone.encode(one) for one in seen)
    room = backbone.encoder.context_length - max(one["input_ids"].shape[1] for one in inputs)
    longest = min(settings.max_new_tokens, room)
    base = backbone.to_device(inputs[0])
    generation = _generation(backbone, base, longest, settings.for_generate())
    ends = end_ids(generation.config.eos_token_id)
    ending = Ending(backbone.tokenizer, ends, settings.stop, longest)
    layout = backbone.layout(inputs[0])
    written = layout.length - max(layout.image_tokens - 1, 0)
    search = _search(method, settings, ending, written)
    sampler = partial(
        OwnSampler,
        base["input_ids"],
        generation.processors,
        derive_seed(seed, "tokens") if settings.samples else None,
        ending,
    )
    on_device = (base, *map(backbone.to_device, inputs[1:]))
    changed = edits_of(seen)
    if search is not None and search.retrospection is not None:
        changed[0] = _watched(changed[0])
    changed = [_compared(backbone, *pair) for pair in zip(changed, seen, strict=True)]
    for edits, one in zip(changed, inputs, strict=True):
        _check_edits(backbone, edits, one)
    prompts = tuple(
        (Prompt(moved, prefix_of(backbone, one), edits), 0)
        for moved, one, edits in zip(on_device, inputs, changed, strict=True)
    )
    return PreparedRequest(
        request=request,
        method=request.decoding,
        checking=checking,
        sample=sample,
        seen=seen,
        names=tuple(view.name for view in views),
        inputs=inputs,
        generation=generation,
        prepared=Prepared(
            method,
            prompts,
            sampler,
            request.schedule,
            generation.constants,
            exits_of(backbone.hf_model, method, base["input_ids"]),
            search,
        ),
        seconds=time.perf_counter() - start,
        digest=sample.digest,
    )


def _search(method: Method, settings: Settings, ending: Ending, prompt: int) -> Search | None:
    """How several hypotheses are searched through; None for writing one.

    Args:
        method: The method, which may bring its own search; its beams are those of the settings
            where these ask for several.
        settings: The settings.
        ending: Where an answer ends.
        prompt: How many ids the prompt has, an image being one.
    """
    own = method.search()
    if own is None and settings.num_beams == 1:
        return None
    if own is not None and settings.num_beams > 1:
        own = replace(own, beams=settings.num_beams)
    return Search(
        settings.num_beams if own is None else own.beams,
        ending,
        ending.longest,
        len(ending.ends),
        settings.length_penalty,
        settings.early_stopping,
        prompt,
        own,
    )


def most_hypotheses(method: Method, settings: Settings) -> int:
    """How many hypotheses a request has at a time, each with a row for every view."""
    own = method.search()
    if own is None:
        return settings.num_beams
    beams = settings.num_beams if settings.num_beams > 1 else own.beams
    return beams * own.candidates


def _watched(edits: Edits | None) -> Edits:
    """What a base view changes, and an onlooker of what written tokens attend to.

    Raises:
        MethodError: Something else edits or watches its attention.
    """
    if edits is not None:
        raise MethodError(
            "opera goes by the attention of the base view, which another part of this method edits "
            "or watches: they cannot be combined."
        )
    return Edits(probe=WatchAnswer())


def _given(request: Request, sample: Sample, names: Sequence[str]) -> Iterator[Sample]:
    """What the views after the original see, as somebody gave it."""
    if len(request.views) != len(names):
        raise MethodError(
            f"{request.decoding.spec} looks at {len(names)} views besides the original "
            f"({', '.join(names) or 'none'}), and views= holds {len(request.views)}."
        )
    for one in request.views:
        given = one if isinstance(one, Sample) else replace(sample, image=one)
        yield replace(given.checked().opened(), choice="given")


def _generation(
    backbone: Backbone, inputs: Mapping[str, Any], longest: int, settings: Mapping[str, Any]
) -> Generation:
    """Let `generate` prepare what it prepares for its own loops."""

    def stop_there(
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> Any:
        return Generation(
            generation_config, logits_processor, stopping_criteria, constants_of(model_kwargs)
        )

    try:
        made: Any = backbone.hf_model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            custom_generate=stop_there,
            max_new_tokens=longest,
            **settings,
        )
    except ValueError as error:  # a generation_config.json that contradicts itself
        raise UserError(f"transformers refuses these settings: {error}") from error
    found: Generation = made
    return found


def _compared(backbone: Backbone, edits: Edits | None, seen: Sample) -> Edits | None:
    """Edits with what they compare the prompt with: for steering, the one without the image."""
    if edits is None or edits.steering is None:
        return edits
    plain = replace(seen, steering=None)
    without = backbone.encode(NoImage().apply(plain, generator(0)))
    return replace(edits, without=backbone.to_device(without))


def _check_edits(backbone: Backbone, edits: Edits | None, inputs: Mapping[str, Any]) -> None:
    """See that what a view changes inside the model is there.

    Raises:
        MethodError: It is not.
    """
    if edits is None or edits.at_work is None:
        return
    config = backbone.hf_model.config
    layout = prompt_layout(inputs["input_ids"], image_slot(config))
    edits.at_work.check(config.get_text_config(decoder=True).num_hidden_layers, layout)


def prefix_of(backbone: Backbone, inputs: Mapping[str, Any]) -> Prefix | None:
    """The beginning of a prompt that other questions on the same images share."""
    length = backbone.encoder.shareable(inputs)
    if not length:
        return None
    digest = hashlib.blake2b(inputs["input_ids"][:, :length].numpy().tobytes(), digest_size=16)
    for name, value in sorted(inputs.items()):
        if name not in TOKEN_ALIGNED and isinstance(value, torch.Tensor):
            digest.update(f"{name} {tuple(value.shape)}".encode() + value.numpy().tobytes())
    return Prefix(digest.digest(), length)
