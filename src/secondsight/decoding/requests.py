"""What `generate` was asked for and the engine does not do is refused by name."""

from __future__ import annotations

from typing import Any, Final

from transformers import GenerationConfig
from transformers.generation import GenerationMode

from secondsight.decoding.transformers5 import CACHE
from secondsight.errors import UnsupportedError

_MODES: Final = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)

_UNSUPPORTED: Final = {
    "guidance_scale": "it runs the model again inside a logits processor",
    "token_healing": "it rewrites the prompt of one view only",
    "prefill_chunk_size": "prompts with images are read in one piece",
    "watermarking_config": "its processor keeps state that views would disturb",
}


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
