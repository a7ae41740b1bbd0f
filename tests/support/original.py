"""A Hugging Face LLaVA written in the original layout, in all the forms that it has there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration


def _names(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The weights under the names of the original code: Llama with projector, and the tower."""
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    llama, tower = {}, {}
    for name, value in model.state_dict().items():
        name = name.removeprefix("model.")
        if name.startswith("vision_tower."):
            inner = name.removeprefix("vision_tower.").removeprefix("vision_model.")
            tower["vision_model." + inner] = value
        elif name.startswith("multi_modal_projector."):
            place = {"linear_1": "0", "linear_2": "2"}[name.split(".")[1]]
            llama[f"model.mm_projector.{place}.{name.split('.')[2]}"] = value
        elif name.startswith("language_model."):
            llama["model." + name.removeprefix("language_model.")] = value
        else:
            llama[name] = value
    llama = {name: value.clone() for name, value in llama.items()}
    return llama, {name: value.clone() for name, value in tower.items()}


def write_original(
    source: Path,
    target: Path,
    *,
    kind: str = "bin",
    projector: str = "shards",
    tower: str = "beside",
    change: Callable[[dict[str, torch.Tensor]], None] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write a Hugging Face checkpoint in the original layout.

    Args:
        source: The Hugging Face folder.
        target: Where the folder ``llava`` (and ``clip-tiny`` for its tower) is made.
        kind: ``bin`` (two shards and an index), ``safetensors`` (likewise), ``single`` (one .bin).
        projector: ``shards``, or ``file`` for a mm_projector.bin.
        tower: ``beside``, or the name of a folder to put it in.
        change: Changes the tensors before they are written.
        config: What differs in config.json.
    """
    llama, clip = _names(source)
    if change is not None:
        change(llama)
    hf_config = json.loads((source / "config.json").read_text())
    folder = target / "llava"
    folder.mkdir(parents=True)
    apart = {k: v for k, v in llama.items() if "mm_projector" in k and projector == "file"}
    rest = {k: v for k, v in llama.items() if k not in apart}
    if apart:
        torch.save(apart, folder / "mm_projector.bin")
    suffix = "safetensors" if kind == "safetensors" else "bin"
    stem = "model" if kind == "safetensors" else "pytorch_model"

    def write(tensors: dict[str, torch.Tensor], name: str) -> None:
        if kind == "safetensors":
            save_file(tensors, folder / name)
        else:
            torch.save(tensors, folder / name)

    if kind == "single":
        write(rest, f"{stem}.{suffix}")
    else:
        names = list(rest)
        halves = [names[: len(names) // 2], names[len(names) // 2 :]]
        weight_map = {}
        for number, half in enumerate(halves, start=1):
            shard = f"{stem}-0000{number}-of-00002.{suffix}"
            write({name: rest[name] for name in half}, shard)
            weight_map |= dict.fromkeys(half, shard)
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    text = dict(hf_config["text_config"])
    original = {
        **text,
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        "image_aspect_ratio": "pad",
        "mm_hidden_size": 32,
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "openai/clip-tiny",
        "torch_dtype": "float32",
        "max_length": 4096,
        **(config or {}),
    }
    (folder / "config.json").write_text(json.dumps(original))
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json"):
        if (source / name).is_file():
            (folder / name).write_bytes((source / name).read_bytes())
    place = target / ("clip-tiny" if tower == "beside" else tower)
    place.mkdir(parents=True)
    torch.save(clip, place / "pytorch_model.bin")
    vision = {**hf_config["vision_config"], "model_type": "clip_vision_model"}
    (place / "config.json").write_text(json.dumps(vision))
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (source / name).is_file():
            (place / name).write_bytes((source / name).read_bytes())
    return folder
