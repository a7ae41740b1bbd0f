"""Loading a model: the bundled one, a local folder, or a repository on the hub."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from transformers import (
    LlamaTokenizer,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from secondsight.checking.calibration import FILE, Calibrations
from secondsight.checkpoints.damage import damaged_as_errors, in_a_line
from secondsight.checkpoints.hub import Checkpoint, find, read_config
from secondsight.checkpoints.hugging import load_by_processor, load_weights
from secondsight.checkpoints.identity import identity
from secondsight.checkpoints.json_files import read_json
from secondsight.checkpoints.llava import LlavaEncoder, image_marks, image_processor
from secondsight.checkpoints.lora import merge
from secondsight.checkpoints.original import load_original
from secondsight.checkpoints.placement import Placement, placement
from secondsight.checkpoints.sources import ADAPTER
from secondsight.checkpoints.tensor_names import is_original
from secondsight.decoding.transformers5 import remember_tokenizer
from secondsight.errors import CheckpointError, UnsupportedError
from secondsight.inference.encoder import Encoder
from secondsight.inference.model import Model
from secondsight.installed import tokenizer_clash
from secondsight.presets import Preset, preset
from secondsight.request import Request
from secondsight.sample import Sample

BUNDLED: Final = "bundled"
"""The name of the model that ships with the package."""

_MOST_LAYERS: Final = 10_000

_presets = preset  # `load` has an argument of that name


def load(
    model: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    vision_tower: str | Path | None = None,
    model_base: str | Path | None = None,
    preset: str | Preset = "llava-official",
    device_map: str | dict[str, Any] | None = None,
    load_in_8bit: bool = False,
    load_in_4bit: bool = False,
    attn_implementation: str | None = None,
    calibrations: str | Path | None = None,
    local_files_only: bool = False,
    trust_remote_code: bool = False,
) -> Model:
    """Load a vision-language model.

    Args:
        model: A local folder or a hub id: a LLaVA-1.5 checkpoint in Hugging Face's or the
            original layout, or any image-text-to-text model that transformers knows; None for the
            small model that ships with the package.
        device: ``auto`` (CUDA, else Apple's MPS, else CPU), or a torch device: ``cuda:1``.
        dtype: ``auto`` (as stored, but no float16 on a CPU), or a torch type or its name.
        revision: A branch, tag or commit on the hub.
        vision_tower: For the original layout: folder or hub id of the CLIP tower.
        model_base: What a LoRA or delta checkpoint adds to: folder or hub id.
        preset: The protocol, such as ``ritual-2024``; see `secondsight.presets`. Models with a
            chat template of their own use that one, and their own way with images.
        device_map: As accelerate's, such as ``auto``: spread the weights over devices.
        load_in_8bit: Quantise the weights to 8 bits with bitsandbytes.
        load_in_4bit: Quantise the weights to 4 bits with bitsandbytes.
        attn_implementation: ``eager``, ``sdpa`` or ``flash_attention_2``.
        calibrations: What the model's yes and no about its own answers mean: a file that
            ``secondsight calibrate`` wrote; left out, the checkpoint's ``doubts.json``, if it has
            one.
        local_files_only: Whether nothing may be fetched from the hub.
        trust_remote_code: Whether code that comes with a checkpoint may run, with all the rights
            of this process. Families that transformers knows never need it.

    Returns:
        The model, ready to answer.

    Raises:
        CheckpointError: Not found, incomplete, damaged, too large, or no model that takes images
            and writes text.
        UnsupportedError: A family that cannot be decoded with views, or a missing extra.
        UserError: An unknown device, type or preset.
    """
    protocol = _presets(preset)
    chosen = None if calibrations is None else Calibrations.read(calibrations)
    where = placement(
        device,
        dtype,
        device_map=device_map,
        load_in_8bit=load_in_8bit,
        load_in_4bit=load_in_4bit,
        attn_implementation=attn_implementation,
    )
    if model is None:
        checkpoint = Checkpoint(bundled_folder(), BUNDLED)
    else:
        checkpoint = find(
            model, revision, local_files_only=local_files_only, code=trust_remote_code
        )
    base = None
    if model_base is not None:
        base = find(model_base, local_files_only=local_files_only, code=trust_remote_code)
    with damaged_as_errors(checkpoint.name):
        loaded = _loaded(
            checkpoint, base, where, protocol, vision_tower, local_files_only, trust_remote_code
        )
        # Meets what is odd in the settings of a processor or of `generate`, without a pass.
        loaded.prepare(Request(Sample(Image.new("RGB", (64, 48)), "What is it?")))
    loaded.calibrations = chosen or loaded.calibrations
    return loaded


def _loaded(
    checkpoint: Checkpoint,
    base: Checkpoint | None,
    where: Placement,
    protocol: Preset,
    vision_tower: str | Path | None,
    local_files_only: bool,
    trust_remote_code: bool,
) -> Model:
    """The model in a checkpoint's folder, and what is beside it."""
    adapter: Path | None = None
    source = checkpoint
    folders = [one.folder for one in (checkpoint, base) if one is not None]
    if (checkpoint.folder / ADAPTER).is_file() and not _is_original_folder(checkpoint.folder):
        adapter, source = checkpoint.folder, _base_of(checkpoint, base)
    config = read_config(source)
    _refuse_endless(config, source.name)
    if not is_original(config):
        _refuse_unused(checkpoint, adapter, vision_tower, base)
    encoder: Encoder
    if is_original(config):
        hf_model, tower = load_original(
            source,
            config,
            vision_tower=vision_tower,
            placement=where,
            base=base if source is checkpoint else None,
            local_files_only=local_files_only,
        )
        encoder = _llava_encoder(hf_model, source, base, tower, protocol, config)
        folders.append(tower)
    elif _is_llava_1_5(config, source.folder):
        hf_model = load_weights(LlavaForConditionalGeneration, source, config, where)
        encoder = _llava_encoder(hf_model, source, None, source.folder, protocol, config)
    else:
        hf_model, encoder = _by_processor(source, config, where, trust_remote_code)
    if adapter is not None:
        hf_model = merge(hf_model, adapter)
    _check_vocabulary(hf_model, encoder.tokenizer, source.name)
    remember_tokenizer(hf_model, encoder.tokenizer)
    stored = copy.deepcopy(hf_model.generation_config)
    # Gemma's checkpoints ask for a cache of their own kind; the loop brings one.
    hf_model.generation_config.cache_implementation = None
    # transformers 4.31 wrote the context length here, and transformers 5 warns of it.
    hf_model.generation_config.max_length = None
    return Model(
        hf_model,
        encoder,
        preset=protocol,
        name=checkpoint.name,
        revision=checkpoint.revision,
        stored_generation=stored,
        stored_config=config,
        identify=partial(identity, folders, where.quantisation),
        calibrations=_calibrations(checkpoint.folder),
    )


def _calibrations(folder: Path) -> Calibrations:
    path = folder / FILE
    return Calibrations.read(path) if path.is_file() else Calibrations()


def bundled_folder() -> Path:
    """The folder of the model that ships with the package."""
    return Path(str(resources.files("secondsight.checkpoints") / "bundled"))


def _refuse_endless(config: Mapping[str, Any], name: str) -> None:
    """Refuse numbers of layers that would be made one by one for hours."""
    for part in (config, *(one for one in config.values() if isinstance(one, dict))):
        for key in ("num_hidden_layers", "num_layers", "n_layer", "depth"):
            if isinstance(count := part.get(key), int) and count > _MOST_LAYERS:
                raise CheckpointError(
                    f"The config.json of {name!r} says {key}={count:,}, which no model has."
                )


def _is_original_folder(folder: Path) -> bool:
    path = folder / "config.json"
    return path.is_file() and is_original(read_json(path))


def _refuse_unused(
    checkpoint: Checkpoint,
    adapter: Path | None,
    vision_tower: str | Path | None,
    base: Checkpoint | None,
) -> None:
    if vision_tower is not None:
        raise UnsupportedError(
            f"{checkpoint.name!r} brings its own vision tower: leave out vision_tower, which is "
            "for LLaVA-1.5 in the original layout."
        )
    if base is not None and adapter is None:
        raise UnsupportedError(
            f"{checkpoint.name!r} is a whole model, to which nothing is added: leave out "
            "model_base."
        )


def _base_of(checkpoint: Checkpoint, base: Checkpoint | None) -> Checkpoint:
    if base is not None:
        return base
    named = read_json(checkpoint.folder / ADAPTER).get("base_model_name_or_path")
    raise CheckpointError(
        f"{checkpoint.name!r} is a LoRA adapter, which adds to another model. Say which: "
        f"model_base=FOLDER or hub id (it was trained on {str(named)!r})."
    )


def _is_llava_1_5(config: Mapping[str, Any], folder: Path) -> bool:
    """Whether a Hugging Face LLaVA is on Llama with Llama's tokenizer, as LLaVA-1.5 is.

    Others of the class (on Llama 3, Qwen, Mistral) bring a chat template of their own.
    """
    if config.get("model_type") != "llava":
        return False
    text = config.get("text_config") or {}
    path = folder / "tokenizer_config.json"
    named = str(read_json(path).get("tokenizer_class")) if path.is_file() else "LlamaTokenizer"
    pieces = named.startswith("LlamaTokenizer") or (folder / "tokenizer.model").is_file()
    return text.get("model_type", "llama") == "llama" and pieces


def _llava_encoder(
    hf_model: PreTrainedModel,
    checkpoint: Checkpoint,
    base: Checkpoint | None,
    tower: Path,
    protocol: Preset,
    config: Mapping[str, Any],
) -> LlavaEncoder:
    files = ("tokenizer.model", "tokenizer.json")
    own = any((checkpoint.folder / name).is_file() for name in files)
    tokenizer = _tokenizer(checkpoint.folder if own or base is None else base.folder)
    return LlavaEncoder(
        hf_model.config,
        tokenizer,
        image_processor(tower, hf_model.config),
        protocol,
        marks=image_marks(config, tokenizer),
    )


def _by_processor(
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    where: Placement,
    trust_remote_code: bool,
) -> tuple[PreTrainedModel, Encoder]:
    hf_model, processor, encoder = load_by_processor(
        checkpoint, config, where, trust_remote_code=trust_remote_code
    )
    return hf_model, encoder(hf_model.config, processor)


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Llama's tokenizer by name: `AutoTokenizer` gives wrong ids on the original layout."""
    if not any((folder / name).is_file() for name in ("tokenizer.model", "tokenizer.json")):
        raise CheckpointError(  # transformers would make an empty one
            f"{str(folder)!r} has no tokenizer (tokenizer.model or tokenizer.json). "
            "Is the download complete?"
        )
    try:
        tokenizer = LlamaTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        clash = None if (folder / "tokenizer.json").is_file() else tokenizer_clash()
        raise CheckpointError(
            f"{str(folder)!r} has no tokenizer that can be read (tokenizer.model or "
            f"tokenizer.json): {clash or in_a_line(error)}"
        ) from error
    return tokenizer


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    size = model.config.get_text_config(decoder=True).vocab_size
    slot = getattr(tokenizer, "image_token", "<image>")  # features take its place, so it may be new
    highest = max(token for text, token in tokenizer.get_vocab().items() if text != slot)
    if highest >= size:
        raise CheckpointError(
            f"The tokenizer of {name!r} has ids up to {highest}, its model a vocabulary of {size}: "
            "they do not belong together."
        )
