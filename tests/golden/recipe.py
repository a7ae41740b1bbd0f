"""The tiny LLaVA-1.5 checkpoints that the official codes were recorded on, from their recipe.

No weights are stored. Every tensor is a stream of numpy's legacy generator, which never changes,
seeded by the tensor's own name; `hashes.json` has the sha256 of each, so that a recording is never
compared with other weights than it was made with.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
import torch

from .tokenizer import write_tokenizer

DATA: Final = Path(__file__).parent / "data"
VOCABULARY: Final = 32000
_HIDDEN, _HEADS, _INNER = 64, 4, 128
_VISION_HIDDEN, _VISION_HEADS, _VISION_INNER, _VISION_LAYERS, _PATCH = 32, 4, 64, 3, 14
_SALT: Final = 20241216


@dataclass(frozen=True)
class Preset:
    """What tells one checkpoint from another: depth, image size, and scales of random weights."""

    layers: int
    embed: float
    query_key: float
    value_out: float
    gate_up: float
    down: float
    head: float
    image: int = 56

    @property
    def tower(self) -> str:
        """The folder of its vision tower; all with small images share one."""
        return "clip-tiny-56" if self.image == 56 else f"clip-deep32-{self.image}"


PRESETS: Final = {
    "tiny": Preset(2, 0.5, 0.22, 0.22, 0.22, 0.16, 0.5),
    "tiny12": Preset(12, 0.5, 0.22, 0.22, 0.22, 0.16, 0.5),
    "views": Preset(12, 0.5, 0.20, 0.16, 0.20, 0.14, 0.5),
    "deep": Preset(12, 0.25, 0.22, 0.08, 0.16, 0.055, 0.6),
    "deep32": Preset(32, 0.25, 0.22, 0.05, 0.16, 0.034, 0.6, image=336),
}


@dataclass(frozen=True)
class _Random:
    """One tensor: its name in the file, the name that seeds it, its shape and distribution."""

    name: str
    shape: tuple[int, ...]
    scale: float
    mean: float = 0.0
    prefix: str = ""

    def make(self) -> torch.Tensor:
        stream = np.random.RandomState(crc32((self.prefix + self.name).encode()) ^ _SALT)
        values = stream.standard_normal(math.prod(self.shape)) * self.scale + self.mean
        # Rounded to float16, so that a checkpoint read in half precision is the same one.
        halves = values.astype(np.float16).reshape(self.shape)
        return torch.from_numpy(halves.astype(np.float32))


def _language(preset: Preset) -> Iterator[_Random]:
    square = (_HIDDEN, _HIDDEN)
    yield _Random("model.embed_tokens.weight", (VOCABULARY, _HIDDEN), preset.embed)
    for number in range(preset.layers):
        layer = f"model.layers.{number}."
        for letter in "qk":
            yield _Random(f"{layer}self_attn.{letter}_proj.weight", square, preset.query_key)
        for letter in "vo":
            yield _Random(f"{layer}self_attn.{letter}_proj.weight", square, preset.value_out)
        for kind in ("gate", "up"):
            yield _Random(f"{layer}mlp.{kind}_proj.weight", (_INNER, _HIDDEN), preset.gate_up)
        yield _Random(f"{layer}mlp.down_proj.weight", (_HIDDEN, _INNER), preset.down)
        for kind in ("input", "post_attention"):
            yield _Random(f"{layer}{kind}_layernorm.weight", (_HIDDEN,), 0.1, 1.0)
    yield _Random("model.norm.weight", (_HIDDEN,), 0.1, 1.0)
    for place, width, scale in ((0, _VISION_HIDDEN, 0.25), (2, _HIDDEN, 0.30)):
        yield _Random(f"model.mm_projector.{place}.weight", (_HIDDEN, width), scale)
        yield _Random(f"model.mm_projector.{place}.bias", (_HIDDEN,), 0.1)
    yield _Random("lm_head.weight", (VOCABULARY, _HIDDEN), preset.head)


def _vision(preset: Preset) -> Iterator[_Random]:
    hidden, inner = _VISION_HIDDEN, _VISION_INNER

    def tensor(name: str, shape: tuple[int, ...], scale: float, mean: float = 0.0) -> _Random:
        return _Random("vision_model." + name, shape, scale, mean, prefix="clip.")

    def norm(name: str) -> Iterator[_Random]:
        yield tensor(name + ".weight", (hidden,), 0.1, 1.0)
        yield tensor(name + ".bias", (hidden,), 0.05)

    def linear(name: str, out: int, wide: int) -> Iterator[_Random]:
        yield tensor(name + ".weight", (out, wide), 1.2 / math.sqrt(wide))
        yield tensor(name + ".bias", (out,), 0.05)

    positions = (preset.image // _PATCH) ** 2 + 1
    yield tensor("embeddings.class_embedding", (hidden,), 0.5)
    yield tensor("embeddings.patch_embedding.weight", (hidden, 3, _PATCH, _PATCH), 0.04)
    yield tensor("embeddings.position_embedding.weight", (positions, hidden), 0.3)
    yield from norm("pre_layrnorm")
    yield from norm("post_layernorm")
    for number in range(_VISION_LAYERS):
        layer = f"encoder.layers.{number}."
        for kind in ("k", "v", "q", "out"):
            yield from linear(f"{layer}self_attn.{kind}_proj", hidden, hidden)
        yield from norm(layer + "layer_norm1")
        yield from norm(layer + "layer_norm2")
        yield from linear(layer + "mlp.fc1", inner, hidden)
        yield from linear(layer + "mlp.fc2", hidden, inner)


def digest(tensor: torch.Tensor) -> str:
    """The sha256 of a tensor's float32 bytes."""
    return hashlib.sha256(tensor.float().contiguous().numpy().tobytes()).hexdigest()


def recorded_hashes(name: str) -> dict[str, str]:
    """The recorded sha256 of every random tensor of a preset, by its name in the checkpoint."""
    stored: dict[str, dict[str, str]] = json.loads((DATA / "hashes.json").read_text())
    return stored[name]


def _checked(tensors: Iterator[_Random], hashes: dict[str, str]) -> dict[str, torch.Tensor]:
    made = {tensor.name: tensor.make() for tensor in tensors}
    wrong = [name for name, value in made.items() if digest(value) != hashes[name]]
    if wrong:
        raise AssertionError(f"numpy made other weights than the recorded ones: {wrong}")
    return made


def write_checkpoint(folder: Path, name: str) -> Path:
    """Write a preset in the original LLaVA layout, its CLIP tower beside it.

    Args:
        folder: Where both folders are made.
        name: One of `PRESETS`.

    Returns:
        The checkpoint's folder: two ``.bin`` shards with an index, config, stand-in tokenizer.
    """
    preset, hashes = PRESETS[name], recorded_hashes(name)
    llava, tower = folder / f"llava-{name}-v1.5", folder / preset.tower
    llava.mkdir(parents=True)
    language = _checked(_language(preset), hashes)
    width = _HIDDEN // _HEADS
    for number in range(preset.layers):  # recomputed by every reader, but in the released files
        key = f"model.layers.{number}.self_attn.rotary_emb.inv_freq"
        language[key] = 10000.0 ** (-torch.arange(0, width, 2) / width)
    _write_shards(llava, language)
    _write_json(llava / "config.json", _llava_config(preset))
    _write_json(llava / "generation_config.json", {**_SPECIAL_IDS, "max_length": 4096})
    write_tokenizer(llava)
    if not tower.exists():
        tower.mkdir()
        vision = _checked(_vision(preset), hashes)
        positions = (preset.image // _PATCH) ** 2 + 1
        vision["vision_model.embeddings.position_ids"] = torch.arange(positions)[None]
        torch.save(vision, tower / "pytorch_model.bin")
        _write_json(tower / "config.json", _tower_config(preset))
        _write_json(tower / "preprocessor_config.json", _pixel_config(preset))
    return llava


def _write_shards(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    early = ("model.embed_tokens.", "model.layers.0.")
    places = {name: 1 if name.startswith(early) else 2 for name in tensors}
    files = {number: f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)}
    for number, file in files.items():
        shard = {name: value for name, value in tensors.items() if places[name] == number}
        torch.save(shard, folder / file)
    total = sum(value.nbytes for value in tensors.values())
    weight_map = {name: files[number] for name, number in places.items()}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "pytorch_model.bin.index.json", index)


_SPECIAL_IDS: Final = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _llava_config(preset: Preset) -> dict[str, Any]:
    return {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        **_SPECIAL_IDS,
        "hidden_act": "silu",
        "hidden_size": _HIDDEN,
        "intermediate_size": _INNER,
        "num_hidden_layers": preset.layers,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "max_position_embeddings": 4096,
        "max_length": 4096,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "vocab_size": VOCABULARY,
        "torch_dtype": "float16",
        "image_aspect_ratio": "pad",
        "mm_hidden_size": _VISION_HIDDEN,
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": preset.tower,
    }


def _tower_config(preset: Preset) -> dict[str, Any]:
    return {
        "architectures": ["CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "hidden_act": "quick_gelu",
        "hidden_size": _VISION_HIDDEN,
        "intermediate_size": _VISION_INNER,
        "num_hidden_layers": _VISION_LAYERS,
        "num_attention_heads": _VISION_HEADS,
        "image_size": preset.image,
        "patch_size": _PATCH,
        "layer_norm_eps": 1e-5,
        "projection_dim": 16,
    }


def _pixel_config(preset: Preset) -> dict[str, Any]:
    """CLIP's own preprocessing, at the tower's size."""
    return {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_resize": True,
        "size": preset.image,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": preset.image,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1))
