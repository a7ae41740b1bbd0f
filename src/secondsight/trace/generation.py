"""How `generate` prepared the run: configurations, processors, mode, cache, memory."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation import GenerateDecoderOnlyOutput, GenerationMode

from secondsight.decoding import decode
from secondsight.decoding.transformers5 import CACHE
from secondsight.settings import Settings
from secondsight.trace.calls import describe
from secondsight.trace.config import plain
from secondsight.trace.facts import GenerationFacts, OutputFacts
from secondsight.trace.memory import memory

if TYPE_CHECKING:
    from secondsight.inference.model import Model

_FLAGS: Final = {
    "is_constraint_gen_mode": "CONSTRAINED_BEAM_SEARCH",
    "is_contrastive_search_gen_mode": "CONTRASTIVE_SEARCH",
    "is_greedy_gen_mode": "GREEDY_SEARCH",
    "is_sample_gen_mode": "SAMPLE",
    "is_beam_gen_mode": "BEAM_SEARCH",
    "is_beam_sample_gen_mode": "BEAM_SAMPLE",
    "is_group_beam_gen_mode": "GROUP_BEAM_SEARCH",
    "is_assisted_gen_mode": "ASSISTED_GENERATION",
    "is_dola_gen_mode": "DOLA_GENERATION",
}
"""The flags of transformers 4's `generate`, by transformers 5's modes."""


class WatchedLoop:
    """The decoding loop, noting what `generate` handed to it and what it returned.

    Args:
        whole: Whether scores, logits and hidden states are asked for.
    """

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self.config: GenerationConfig | None = None
        self.inputs: dict[str, str] = {}
        self.processors: list[Any] = []
        self.criteria: list[Any] = []
        self.input_ids: torch.Tensor | None = None
        self.output: GenerateDecoderOnlyOutput | None = None

    def as_loop(self) -> Any:
        """The callable for ``generate(custom_generate=...)``; `generate` reads its signature."""

        @functools.wraps(decode)
        def loop(
            model: PreTrainedModel,
            input_ids: torch.Tensor,
            logits_processor: Any,
            stopping_criteria: Any,
            generation_config: GenerationConfig,
            **kwargs: Any,
        ) -> torch.Tensor:
            self.config = copy.deepcopy(generation_config)
            self.inputs = {name: describe(value) for name, value in kwargs.items()}
            self.processors, self.criteria = list(logits_processor), list(stopping_criteria)
            self.input_ids = input_ids
            generation_config.return_dict_in_generate = True
            # Attentions would need another implementation; the teacher-forced pass has them.
            generation_config.output_scores = self._whole
            generation_config.output_logits = self._whole
            generation_config.output_hidden_states = self._whole
            output: Any = decode(
                model,
                input_ids,
                logits_processor,
                stopping_criteria,
                generation_config,
                **kwargs,
            )
            self.output = output
            sequences: torch.Tensor = output.sequences
            return sequences

        return loop


def generation_facts(
    model: Model,
    settings: Settings,
    loop: WatchedLoop,
    *,
    cache: Any,
    ids: Sequence[int],
    views: int,
) -> GenerationFacts:
    """What `generate` made of its arguments.

    Args:
        model: The model.
        settings: What was asked for.
        loop: What the loop was given.
        cache: The run's key-value cache.
        ids: The prompt's ids with one per image.
        views: How many views were read at once.
    """
    config = loop.config
    assert config is not None
    assert loop.input_ids is not None
    asked = {"max_new_tokens": config.max_new_tokens, **settings.for_generate()}
    updated = copy.deepcopy(model.stored_generation)
    updated.update(**asked)
    warpers = [one for one in loop.processors if type(one).__name__.endswith("Warper")]
    mode = config.get_generation_mode()
    pad = config.pad_token_id
    return GenerationFacts(
        stages={
            "before": stage(model.stored_generation),
            "after update": stage(updated, asked),
            "after max tokens": stage(config, asked),
        },
        max_length_ids=len(ids) + int(config.max_new_tokens or 0),
        inputs=loop.inputs,
        processors=tuple(_shown(one) for one in loop.processors if one not in warpers),
        warpers=tuple(map(_shown, warpers)),
        criteria=tuple(map(_shown, loop.criteria)),
        mode=str(mode.value),
        flags={
            flag: mode.name == name
            for flag, name in _FLAGS.items()
            if hasattr(GenerationMode, name)
        },
        special={
            "is_encoder_decoder": bool(model.hf_model.config.is_encoder_decoder),
            "input_ids_seq_length": int(loop.input_ids.shape[1]),
            "pad_token_id": pad,
            "eos_token_id": config.eos_token_id,
            "is_pad_token_not_equal_to_eos_token_id": pad != config.eos_token_id,
            "is_pad_token_in_inputs": pad in ids,
        },
        cache=_cache(cache, views),
        schedule="joint, because tracing reads every view at every step",
        memory=memory(model.hf_model.device),
    )


def stage(config: GenerationConfig, shown: Collection[str] = ()) -> dict[str, Any]:
    """A generation configuration without what nobody set, as transformers prints it.

    Args:
        config: The configuration.
        shown: Settings to show although they have the value that `generate` fills in.
    """
    defaults = config._get_default_generation_params()
    return {
        name: plain(value)
        for name, value in config.to_diff_dict().items()
        if value is not None
        and (name in shown or name not in defaults or value != defaults[name])
        and not (name.startswith("_") and name != "_from_model_config")
    }


def output_facts(loop: WatchedLoop, text: str, prompt: tuple[int, ...]) -> OutputFacts:
    """What `generate` returned, described.

    Args:
        loop: The watched loop.
        text: The answer.
        prompt: The prompt's ids with one id per image.
    """
    output = loop.output
    assert output is not None
    assert loop.input_ids is not None
    ids = tuple(output.sequences[0, loop.input_ids.shape[1] :].tolist())
    return OutputFacts(
        ids=ids,
        sequence=(*prompt, *ids),
        text=text,
        kind=type(output).__name__,
        fields={
            name: None if getattr(output, name) is None else describe(getattr(output, name))
            for name in (
                "sequences",
                "scores",
                "logits",
                "attentions",
                "hidden_states",
                CACHE,
            )
        },
    )


def _shown(thing: Any) -> str:
    """A processor or criterion with its plain settings: ``TopPLogitsWarper(top_p=0.9)``."""
    public = vars(thing) if type(thing).__module__.startswith("transformers.") else {}
    settings = {
        name: value
        for name, value in public.items()
        if isinstance(value, bool | int | float | str) and not name.startswith("_")
    }
    inside = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return f"{type(thing).__name__}({inside})"


def _cache(cache: Any, views: int) -> dict[str, Any]:
    """Kind and size of a cache."""
    layers = [
        layer for layer in getattr(cache, "layers", ()) if getattr(layer, "keys", None) is not None
    ]
    if not layers:
        return {"class": type(cache).__name__}
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
    return {
        "class": type(cache).__name__,
        "layers": len(layers),
        "keys_per_layer": describe(layers[0].keys),
        "rows": f"{views} (one per view)",
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    }
