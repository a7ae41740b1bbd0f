"""How the run was generated: configurations, processors, mode, cache, memory, output."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any, Final

import torch
from transformers import GenerationConfig
from transformers.generation import GenerateDecoderOnlyOutput, GenerationMode

from secondsight.decoding.engine import Engine
from secondsight.decoding.transformers5 import CACHE
from secondsight.inference.backbone import Backbone
from secondsight.inference.prepare import PreparedRequest
from secondsight.trace.calls import describe
from secondsight.trace.config import plain
from secondsight.trace.facts import GenerationFacts, OutputFacts
from secondsight.trace.keep import Keeper
from secondsight.trace.memory import memory

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


def generation_facts(
    backbone: Backbone, prepared: PreparedRequest, engine: Engine, ids: Sequence[int]
) -> GenerationFacts:
    """What `generate` made of the settings, and what the engine was given.

    Args:
        backbone: The model.
        prepared: The request.
        engine: The engine that wrote the answer.
        ids: The prompt's ids with one per image.
    """
    generation, settings = prepared.generation, prepared.request.settings
    config = generation.config
    asked = {"max_new_tokens": config.max_new_tokens, **settings.for_generate()}
    updated = copy.deepcopy(backbone.stored_generation)
    updated.update(**asked)
    processors = list(generation.processors)
    warpers = [one for one in processors if type(one).__name__.endswith("Warper")]
    mode = config.get_generation_mode()
    pad = config.pad_token_id
    given = {**prepared.inputs[0], **generation.constants}
    return GenerationFacts(
        stages={
            "before": stage(backbone.stored_generation),
            "after update": stage(updated, asked),
            "after max tokens": stage(config, asked),
        },
        max_length_ids=len(ids) + int(config.max_new_tokens or 0),
        inputs={name: describe(value) for name, value in given.items()},
        processors=tuple(_shown(one) for one in processors if one not in warpers),
        warpers=tuple(map(_shown, warpers)),
        criteria=tuple(map(_shown, generation.criteria)),
        mode=str(mode.value),
        flags={
            flag: mode.name == name
            for flag, name in _FLAGS.items()
            if hasattr(GenerationMode, name)
        },
        special={
            "is_encoder_decoder": bool(backbone.hf_model.config.is_encoder_decoder),
            "input_ids_seq_length": int(prepared.inputs[0]["input_ids"].shape[1]),
            "pad_token_id": pad,
            "eos_token_id": config.eos_token_id,
            "is_pad_token_not_equal_to_eos_token_id": pad != config.eos_token_id,
            "is_pad_token_in_inputs": pad in ids,
        },
        cache=_cache(engine, len(prepared.names)),
        schedule="every view at every step, because tracing shows all of them",
        memory=memory(backbone.hf_model.device),
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


def output_facts(
    prepared: PreparedRequest,
    ids: Sequence[int],
    text: str,
    prompt: tuple[int, ...],
    keeper: Keeper,
) -> OutputFacts:
    """The answer in the form in which `generate` returns one, described.

    Args:
        prepared: The request.
        ids: The answer's ids as they were written.
        text: The answer.
        prompt: The prompt's ids with one id per image.
        keeper: Has the whole tensors, if they were asked for.
    """
    before: torch.Tensor = prepared.inputs[0]["input_ids"]
    scores, logits = keeper.tensors.get("scores"), keeper.tensors.get(f"logits.{prepared.names[0]}")
    output = GenerateDecoderOnlyOutput(
        sequences=torch.cat([before, torch.tensor([list(ids)])], dim=-1),
        scores=None if scores is None else tuple(scores[:, None]),
        logits=None if logits is None else tuple(logits[:, None]),
        hidden_states=_hidden_states(keeper, prepared.names[0], before.shape[1], len(ids)),
    )
    return OutputFacts(
        ids=tuple(ids),
        sequence=(*prompt, *ids),
        text=text,
        kind=type(output).__name__,
        fields={
            name: None if getattr(output, name, None) is None else describe(getattr(output, name))
            for name in ("sequences", "scores", "logits", "attentions", "hidden_states", CACHE)
        },
    )


def _hidden_states(keeper: Keeper, view: str, prompt: int, steps: int) -> Any:
    """By step and layer: the prompt's positions first, then one position at a time."""
    layers: list[torch.Tensor] = []
    while (states := keeper.tensors.get(f"hidden.{view}.{len(layers)}")) is not None:
        layers.append(states)
    if not layers:
        return None
    spans = [slice(0, prompt), *(slice(at, at + 1) for at in range(prompt, prompt + steps - 1))]
    return tuple(tuple(states[:, span] for states in layers) for span in spans)


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


def _cache(engine: Engine, views: int) -> dict[str, Any]:
    """Kind and size of an engine's cache."""
    cache = engine.pool.cache
    keys = next((layer.keys for layer in cache.layers if layer.is_initialized), None)
    return {
        "class": type(cache).__name__,
        "layers": len(cache.layers),
        "keys_per_layer": describe(keys),
        "rows": f"{views} (one per view), of {cache.rows} that there is room for",
        "bytes": cache.nbytes,
    }
