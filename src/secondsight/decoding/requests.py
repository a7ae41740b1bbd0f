"""What `generate` was asked for: found where it does not hand it on, refused where unsupported."""

from __future__ import annotations

import inspect
from typing import Any, Final

from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation import GenerationMode

from secondsight.decoding.cache import CACHE
from secondsight.errors import UnsupportedError

_MODES: Final = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)

_UNSUPPORTED: Final = {
    "guidance_scale": "it runs the model again inside a logits processor",
    "token_healing": "it rewrites the prompt of one view only",
    "prefill_chunk_size": "prompts with images are read in one piece",
    "watermarking_config": "its processor keeps state that views would disturb",
}


def from_generate() -> dict[str, Any]:
    """The arguments of the `generate` call that led here, which it keeps from callables.

    transformers 5 passes a callable neither the streamer nor an assistant model, so both would
    be ignored in silence. They are read from the calling frame.

    Returns:
        ``streamer``, ``assistant_model``, ``negative_prompt_ids`` and ``synced_gpus`` as they
        were given; empty when there is no such call.
    """
    frame = inspect.currentframe()
    while frame is not None:
        in_transformers = frame.f_globals.get("__name__") == "transformers.generation.utils"
        if in_transformers and frame.f_code.co_name == "generate":
            names = ("streamer", "assistant_model", "negative_prompt_ids", "synced_gpus")
            return {name: frame.f_locals.get(name) for name in names}
        frame = frame.f_back
    return {}


def reads_scores(processors: LogitsProcessorList) -> bool:
    """Whether a logits processor may let a token's score decide what becomes of another token.

    Those of transformers leave a single plausible token as it is or ban it; a user's own may do
    anything, so it must see the scores of all views at every step.
    """
    return any(
        not type(processor).__module__.startswith("transformers.") for processor in processors
    )


def refuse_unsupported(
    config: GenerationConfig, asked: dict[str, Any], model_kwargs: dict[str, Any]
) -> None:
    """Refuse by name whatever the loop would otherwise ignore.

    Raises:
        UnsupportedError: Beam search, assisted generation, another kind of cache, ...
    """
    mode = config.get_generation_mode(asked.get("assistant_model"))
    if mode not in _MODES:
        name = str(mode.value).replace("_", " ")
        raise UnsupportedError(
            f"secondsight.decode does not do {name}. Use greedy decoding or sampling: "
            "num_beams=1 and no assistant model."
        )
    for name, reason in _UNSUPPORTED.items():
        if getattr(config, name, None):
            raise UnsupportedError(f"secondsight.decode does not support {name}: {reason}.")
    if asked.get("negative_prompt_ids") is not None:
        raise UnsupportedError("secondsight.decode does not support negative_prompt_ids.")
    if asked.get("synced_gpus"):
        raise UnsupportedError("secondsight.decode does not support synced_gpus (ZeRO-3, FSDP).")
    if config.use_cache is False:
        raise UnsupportedError("secondsight.decode needs the key-value cache: use_cache=True.")
    if config.cache_implementation not in (None, "dynamic"):
        raise UnsupportedError(
            f"secondsight.decode brings its own cache: leave out cache_implementation="
            f"{config.cache_implementation!r}."
        )
    cache = model_kwargs.get(CACHE)
    if cache is not None and cache.get_seq_length() > 0:
        raise UnsupportedError(f"secondsight.decode cannot continue from {CACHE}.")
    if model_kwargs.get("inputs_embeds") is not None:
        raise UnsupportedError("secondsight.decode needs input_ids, not inputs_embeds.")
