"""The recordings' checkpoints, a tiny random LLaVA made on the spot, and what was left out."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from hypothesis import settings
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    AddedToken,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

import secondsight
from golden.recipe import write_checkpoint

SHARED = Path(__file__).resolve().parents[2] / "shared"

torch.set_num_threads(1)
settings.register_profile("unhurried", deadline=None)  # speed is not what tests are about
settings.load_profile("unhurried")


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the {name} data is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def seed() -> Path:
    """The seed document's folder; skips where it is absent."""
    return _shared("seed")


@pytest.fixture(scope="session")
def llama_tokenizer() -> Path:
    """A folder with Llama's own tokenizer; skips where it is absent."""
    folder = _shared("golden") / "ckpt" / "llava-tiny-v1.5"
    if not (folder / "tokenizer.model").is_file():
        pytest.skip(f"Llama's tokenizer.model is not in {folder}")
    return folder


GoldenModel = Callable[..., secondsight.Model]


@pytest.fixture(scope="session")
def golden_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``golden_checkpoint("deep")``: a checkpoint of the recordings, in the original layout."""
    made: dict[str, Path] = {}

    def checkpoint(preset: str = "tiny") -> Path:
        if preset not in made:
            made[preset] = write_checkpoint(tmp_path_factory.mktemp("golden"), preset)
        return made[preset]

    return checkpoint


@pytest.fixture(scope="session")
def golden_model(golden_checkpoint: Callable[[str], Path]) -> GoldenModel:
    """``golden_model("deep")``: loaded in float32 on the CPU, once. Tests leave it as it was."""
    loaded: dict[tuple[Any, ...], secondsight.Model] = {}

    def model(name: str = "tiny", **options: Any) -> secondsight.Model:
        key = (name, *sorted(options.items()))
        if key not in loaded:
            folder = golden_checkpoint(name)
            options = {"device": "cpu", "dtype": "float32", **options}
            loaded[key] = secondsight.load(folder, **options)
        return loaded[key]

    return model


@pytest.fixture(scope="session")
def llama_model(
    golden_checkpoint: Callable[[str], Path], llama_tokenizer: Path
) -> secondsight.Model:
    """The tiny checkpoint with Llama's own tokenizer; skips where that is absent."""
    folder = golden_checkpoint("tiny")
    own = folder.with_name("llava-tiny-v1.5-llama")
    shutil.copytree(folder, own, ignore=shutil.ignore_patterns("tokenizer*"), symlinks=True)
    for file in llama_tokenizer.glob("tokenizer*"):
        shutil.copy(file, own)
    return secondsight.load(own, device="cpu", dtype="float32")


CORPUS = """
A chat between a curious human and an artificial intelligence assistant.
The assistant gives helpful, detailed, and polite answers to the human's questions.
USER: Please describe this image in detail. ASSISTANT: There is a red cat on the table.
USER: Is there a dog in the image? ASSISTANT: Yes. No. What colour is the small bicycle?
How many people are there? Two people ride a bus. The sky is blue and the grass is green.
"""

PIECES = 400
IMAGE_ID, PAD_ID = PIECES, PIECES + 1


def _tokenizer(folder: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(CORPUS.strip().splitlines() * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=PIECES,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken("<image>", special=True, normalized=False)])
    tokenizer.add_special_tokens({"pad_token": AddedToken("<pad>", special=True, normalized=False)})
    assert tokenizer.convert_tokens_to_ids(["<image>", "<pad>"]) == [IMAGE_ID, PAD_ID]
    tokenizer.save_pretrained(folder)


def _network(*, image: int, kv_heads: int) -> LlavaForConditionalGeneration:
    """Random weights, so scaled that one token is plausible in about half of the steps."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=image,
            patch_size=14,
            projection_dim=32,
        ),
        text_config=LlamaConfig(
            vocab_size=PIECES + 2,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=kv_heads,
            max_position_embeddings=512,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=PAD_ID,
        ),
        image_token_index=IMAGE_ID,
        image_seq_length=(image // 14) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    generator = torch.Generator().manual_seed(7)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                continue
            scale = 1.3 if "lm_head" in name else 0.18
            weights.copy_(torch.randn(weights.shape, generator=generator) * scale)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=PAD_ID)
    return model.eval()


def _hugging_face(folder: Path, *, image: int, kv_heads: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    _network(image=image, kv_heads=kv_heads).save_pretrained(folder)
    _tokenizer(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": image}, crop_size={"height": image, "width": image}
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random LLaVA in Hugging Face's layout, with grouped-query attention."""
    return _hugging_face(tmp_path_factory.mktemp("tiny") / "llava", image=42, kv_heads=2)


@pytest.fixture(scope="session")
def tiny_llava_mha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its sibling with as many key heads as query heads, and a smaller picture."""
    return _hugging_face(tmp_path_factory.mktemp("tiny-mha") / "llava", image=28, kv_heads=4)


@pytest.fixture(scope="session")
def model(tiny_llava: Path) -> secondsight.Model:
    """The tiny random LLaVA, loaded. Tests must leave it as it was."""
    return secondsight.load(tiny_llava, device="cpu")


WriteOriginal = Callable[..., Path]


def _original_names(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
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


def _write_original(
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
    llama, clip = _original_names(source)
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


@pytest.fixture(scope="session")
def write_original(tiny_llava: Path) -> WriteOriginal:
    """Writes the tiny LLaVA in the original layout; see `_write_original`."""

    def write(target: Path, **options: Any) -> Path:
        return _write_original(tiny_llava, target, **options)

    return write


@pytest.fixture(scope="session")
def tiny_original(write_original: WriteOriginal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny LLaVA's weights in the original layout: .bin shards, the tower beside them."""
    return write_original(tmp_path_factory.mktemp("original"))


def make_picture(number: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    """A picture with structure at every scale, another one for every number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    grain = rng.integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(image).astype(int) + grain).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    """Makes pictures: ``picture(number, size)``."""
    return make_picture
