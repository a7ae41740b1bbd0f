"""What was loaded: tokenizer, model, image processor, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import nn

from secondsight.inference.backbone import Backbone
from secondsight.trace.facts import ConfigFacts, ModuleParameters
from secondsight.trace.modules import PROJECTOR, RESAMPLER, VISION, find, language_layers
from secondsight.trace.patches import image_processor
from secondsight.trace.tensors import dtype_name

_ALONG_THE_DATA: Final = (
    "vision tower",
    "Q-Former",
    "projector",
    "token embeddings",
    "language model layers",
    "output head",
    "everything else",
)
"""The modules of a model in the order in which the data meets them."""


def config_facts(backbone: Backbone) -> ConfigFacts:
    """What the model is made of."""
    hf_model = backbone.hf_model
    config = hf_model.config
    implementations = {"model": config._attn_implementation}
    for name in getattr(config, "sub_configs", {}):
        implementations[name] = getattr(config, name)._attn_implementation
    return ConfigFacts(
        tokenizer=_tokenizer(backbone.tokenizer),
        model_name=backbone.name,
        model_class=type(hf_model).__name__,
        model_config=plain(config.to_dict()),
        stored_config=plain(backbone.stored_config),
        modules=str(hf_model),
        image_processor=_image_processor(image_processor(backbone)),
        context_length=backbone.encoder.context_length,
        parameters=tuple(_parameters(hf_model)),
        dtype=dtype_name(hf_model.dtype),
        device=str(hf_model.device),
        attention={name: str(value) for name, value in implementations.items()},
    )


def plain(value: Any) -> Any:
    """A configuration's values as what JSON knows; anything else by its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value).removeprefix("torch.")


def _tokenizer(tokenizer: Any) -> dict[str, Any]:
    return {
        "class": type(tokenizer).__name__,
        "name": str(tokenizer.name_or_path).rstrip("/").rpartition("/")[2],
        "vocab_size": tokenizer.vocab_size,
        "size_with_added": len(tokenizer),
        "model_max_length": tokenizer.model_max_length,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "special_tokens": plain(tokenizer.special_tokens_map),
        "special_ids": {
            name: getattr(tokenizer, f"{name}_id", None)
            for name in ("bos_token", "eos_token", "unk_token", "pad_token")
        },
    }


def _image_processor(processor: Any) -> dict[str, Any] | None:
    if processor is None:
        return None
    described = plain(processor.to_dict())
    return {"class": type(processor).__name__, **described}


def _parameters(model: Any) -> list[ModuleParameters]:
    """Parameters of the modules that a multimodal model is made of, and of the whole."""
    seen: set[int] = set()
    embeddings = model.get_input_embeddings()
    layers = language_layers(model)
    head = model.get_output_embeddings()
    named = {module: name for name, module in model.named_modules()}
    places: dict[str, tuple[str, nn.Module] | None] = {
        "projector": find(model, PROJECTOR),  # first, since Qwen-VL has it in its vision tower
        "vision tower": find(model, VISION),
        "Q-Former": find(model, RESAMPLER),
        "token embeddings": (named[embeddings], embeddings),
        "language model layers": None if layers is None else (layers.name, layers.modules),
        "output head": None if head is None else (named[head], head),
        "everything else": ("", model),
    }
    counts = [_count(label, *place, seen) for label, place in places.items() if place is not None]
    counts.sort(key=lambda count: _ALONG_THE_DATA.index(count.name))
    whole = _count("whole model", "", model, set())
    return [*(count for count in counts if count.parameters or count.module), whole]


def _count(label: str, name: str, module: nn.Module, seen: set[int]) -> ModuleParameters:
    """The parameters that no module before has, so that tied weights count once."""
    new = [parameter for parameter in module.parameters() if id(parameter) not in seen]
    seen.update(id(parameter) for parameter in new)
    return ModuleParameters(
        name=label,
        module=name,
        parameters=sum(parameter.numel() for parameter in new),
        bytes=sum(parameter.numel() * parameter.element_size() for parameter in new),
    )
