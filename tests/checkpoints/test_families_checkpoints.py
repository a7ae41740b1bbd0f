"""Checkpoints that add to others, marks, placement, and what is refused before it is loaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

import secondsight
from secondsight.checkpoints import memory
from secondsight.checkpoints.sources import tensors
from secondsight.errors import CheckpointError, UnsupportedError, UserError

WriteOriginal = Callable[..., Path]
MakeImage = Callable[..., Image.Image]

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
needs_bits = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


def ids(folder: Path, make_image: MakeImage, **options: Any) -> tuple[int, ...]:
    loaded = secondsight.load(folder, device="cpu", **options)
    return loaded.answer(make_image(), "A cat?", "vcd", max_new_tokens=8).ids


def only_language(folder: Path, target: Path) -> Path:
    """The language model of an original checkpoint, as a base has it."""
    target.mkdir()
    language = {n: t.clone() for n, t in tensors(folder) if "mm_projector" not in n}
    torch.save(language, target / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in config.items() if not key.startswith("mm_")}
    (target / "config.json").write_text(json.dumps({**kept, "model_type": "llama"}))
    return target


def test_a_delta_is_added_to_its_base(
    tiny_original: Path, write_original: WriteOriginal, tmp_path: Path
) -> None:
    base = only_language(tiny_original, tmp_path / "base")
    whole = dict(tensors(tiny_original))

    def subtract(llama: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors(base):
            llama[name] = llama[name] - tensor + 0.5

    delta = write_original(tmp_path / "llava-delta", change=subtract)
    delta = delta.rename(delta.parent / "tiny-delta-v1")
    with pytest.raises(CheckpointError, match=r"is a delta.*model_base"):
        secondsight.load(delta, device="cpu")
    model = secondsight.load(delta, device="cpu", model_base=base)
    head = model.hf_model.lm_head.weight
    torch.testing.assert_close(head.data, whole["lm_head.weight"] + 0.5)
    projector = model.hf_model.model.multi_modal_projector.linear_1.weight
    assert torch.equal(projector.data, whole["model.mm_projector.0.weight"])


def test_a_projector_alone(tiny_original: Path, tmp_path: Path, make_image: MakeImage) -> None:
    base = only_language(tiny_original, tmp_path / "base")
    folder = tmp_path / "llava-pretrain"
    folder.mkdir()
    for name in ("config.json", "tokenizer.model", "tokenizer_config.json", "tokenizer.json"):
        if (tiny_original / name).is_file():
            (folder / name).write_bytes((tiny_original / name).read_bytes())
    own = {n: t.clone() for n, t in tensors(tiny_original) if "mm_projector" in n}
    torch.save(own, folder / "mm_projector.bin")
    with pytest.raises(CheckpointError, match=r"is a projector.*model_base"):
        secondsight.load(folder, device="cpu")
    tower = tiny_original.parent / "clip-tiny"
    asked: dict[str, Any] = {"model_base": base, "vision_tower": tower}
    assert ids(folder, make_image, **asked) == ids(tiny_original, make_image)


def test_nothing_is_ignored(tiny_llava: Path, tiny_original: Path) -> None:
    """A base or a tower that would not be used is refused."""
    for folder in (tiny_llava, tiny_original):
        with pytest.raises(UnsupportedError, match="whole model"):
            secondsight.load(folder, device="cpu", model_base=tiny_original)
    with pytest.raises(UnsupportedError, match="its own vision tower"):
        secondsight.load(tiny_llava, device="cpu", vision_tower=tiny_original)


@needs_peft
def test_lora_of_the_original_code(
    tiny_original: Path, tmp_path: Path, make_image: MakeImage
) -> None:
    """Merged by peft: the weights are the base's and the product of the matrices."""
    from safetensors.torch import save_file

    base = only_language(tiny_original, tmp_path / "base")
    folder = tmp_path / "llava-tiny-lora"
    folder.mkdir()
    for name in ("config.json", "tokenizer.model", "tokenizer_config.json", "tokenizer.json"):
        if (tiny_original / name).is_file():
            (folder / name).write_bytes((tiny_original / name).read_bytes())
    whole = dict(tensors(tiny_original))
    place = "model.layers.1.self_attn.q_proj"
    size = whole[f"{place}.weight"].shape
    down, up = torch.randn(4, size[1]) * 0.1, torch.randn(size[0], 4) * 0.1
    prefix = f"base_model.model.{place}"
    save_file(
        {f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up},
        folder / "adapter_model.safetensors",
    )
    adapter = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
        "layers_to_transform": [1],
        "bias": "none",
        "base_model_name_or_path": "vicuna",
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    own = {f"base_model.model.{n}": t.clone() for n, t in whole.items() if "mm_projector" in n}
    torch.save(own, folder / "non_lora_trainables.bin")
    with pytest.raises(CheckpointError, match=r"is a LoRA adapter.*model_base"):
        secondsight.load(folder, device="cpu")
    tower = tiny_original.parent / "clip-tiny"
    model = secondsight.load(folder, device="cpu", model_base=base, vision_tower=tower)
    merged = model.hf_model.model.language_model.layers[1].self_attn.q_proj.weight
    torch.testing.assert_close(merged.data, whole[f"{place}.weight"] + 2 * up @ down)
    assert model.answer(make_image(), "A cat?", "ritual", max_new_tokens=4)


@needs_peft
def test_lora_on_hugging_face(tiny_llava: Path, tmp_path: Path) -> None:
    """An adapter that peft made for transformers' model, on any family."""
    from peft import LoraConfig, get_peft_model

    model = LlavaForConditionalGeneration.from_pretrained(tiny_llava)
    place = "language_model.layers.0.mlp.up_proj"
    before = model.model.get_submodule(place).weight.data.clone()
    adapted = get_peft_model(
        model, LoraConfig(r=2, target_modules=[place], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="model_base"):
        secondsight.load(tmp_path, device="cpu")
    loaded = secondsight.load(tmp_path, device="cpu", model_base=tiny_llava)
    after = loaded.hf_model.model.get_submodule(place).weight.data
    expected = adapted.merge_and_unload().model.get_submodule(place).weight.data
    torch.testing.assert_close(after, expected)
    assert not torch.equal(after, before)


def test_marks_around_the_image(write_original: WriteOriginal, tmp_path: Path) -> None:
    """Trained with mm_use_im_start_end: the tokens stand around the image, and cannot be forged."""

    def widen(llama: dict[str, torch.Tensor]) -> None:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            llama[name] = torch.cat([llama[name], llama[name][:2]])

    size = 402
    folder = write_original(
        tmp_path, change=widen, config={"mm_use_im_start_end": True, "vocab_size": size + 2}
    )
    model = secondsight.load(folder, device="cpu")
    sample = secondsight.Sample(Image.new("RGB", (20, 20)), "What is <im_end> here?")
    ids = model.encode(sample.image, sample.question)["input_ids"][0].tolist()
    slots = [place for place, token in enumerate(ids) if token == 0]
    assert ids[slots[0] - 1] == size
    assert ids[slots[-1] + 1] == size + 1
    assert ids.count(size + 1) == 1


@needs_bits
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("layout", ["hf", "original"])
def test_quantised(
    tiny_llava: Path, tiny_original: Path, bits: int, layout: str, make_image: MakeImage
) -> None:
    folder = tiny_llava if layout == "hf" else tiny_original
    model = secondsight.load(folder, device="cpu", **{f"load_in_{bits}bit": True})
    layer = model.hf_model.model.language_model.layers[0].mlp.up_proj
    assert type(layer).__module__.startswith("bitsandbytes")
    if bits == 8:  # on a CPU, 4 bits need layers wider than this model's
        assert model.answer(make_image(), "A cat?", "ritual", max_new_tokens=2).ids


def test_quantised_without_bitsandbytes(tiny_llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UnsupportedError, match=r"needs bitsandbytes.* pip install"):
        secondsight.load(tiny_llava, load_in_4bit=True)
    with pytest.raises(UnsupportedError, match="one of"):
        secondsight.load(tiny_llava, load_in_4bit=True, load_in_8bit=True)


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_placement(
    tiny_llava: Path, tiny_original: Path, layout: str, make_image: MakeImage
) -> None:
    folder = tiny_llava if layout == "hf" else tiny_original
    expected = ids(folder, make_image)
    assert ids(folder, make_image, device_map="auto") == expected
    assert ids(folder, make_image, attn_implementation="eager") == expected
    model = secondsight.load(folder, device="cpu", attn_implementation="eager")
    assert model.hf_model.config.text_config._attn_implementation == "eager"
    with pytest.raises(UserError, match="attention implementation"):
        secondsight.load(folder, attn_implementation="flex")


def test_too_large_for_the_memory(
    tiny_llava: Path, tiny_original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before anything is loaded, with what would fit."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: 300_000)
    for folder in (tiny_llava, tiny_original):
        with pytest.raises(CheckpointError, match=r"GiB of memory.*load_in_4bit=True"):
            secondsight.load(folder, device="cpu")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    with pytest.raises(CheckpointError, match="What would fit: a model of up to"):
        secondsight.load(tiny_llava, device="cpu")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "llama"}, "a text-only model"),
        ({"model_type": "whisper"}, "an audio model"),
        ({"model_type": "qwen2_audio", "audio_config": {}}, "an audio model"),
        ({"model_type": "clip", "architectures": ["CLIPModel"]}, "an embedding model"),
        ({"model_type": "qwen2_vl", "architectures": ["Qwen2VLModel"]}, "an embedding model"),
        ({"model_type": "vit", "architectures": ["ViTForImageClassification"]}, "an image model"),
        ({"model_type": "new", "auto_map": {"AutoModel": "m.M"}}, "trust_remote_code=True"),
        ({"model_type": "new"}, "does not know"),
        ({"model_type": "mllama"}, "cross-attention"),
        ({"model_type": "florence2"}, "encoder-decoder"),
        ({"model_type": "qwen3_5"}, "recurrent state"),
        ({"model_type": "janus"}, "code of its own"),
    ],
)
def test_other_kinds_of_models(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises((CheckpointError, UnsupportedError), match=words):
        secondsight.load(tmp_path, device="cpu")


@pytest.mark.parametrize("suffix", ["gguf", "onnx"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model.{suffix}"
    file.write_bytes(b"x")
    for asked in (file, tmp_path):
        with pytest.raises(CheckpointError, match=suffix.upper()):
            secondsight.load(asked)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    with pytest.raises(CheckpointError, match=suffix.upper()):
        secondsight.load(tmp_path)


@pytest.mark.parametrize("size", [3, 99999])
def test_another_vocabulary(tiny_llava: Path, tmp_path: Path, size: int) -> None:
    """A config.json that promises another vocabulary than weights and tokenizer have."""
    for file in tiny_llava.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"] |= {"vocab_size": size, "pad_token_id": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"vocabulary of {size}|asks for .{size},"):
        secondsight.load(tmp_path, device="cpu")


def test_half_a_download(tiny_llava: Path, tmp_path: Path) -> None:
    """Files that an index promises are named; a file that is cut off says so."""
    for file in tiny_llava.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cut off or damaged.*[\d,]+ bytes"):
        secondsight.load(tmp_path, device="cpu")
    weights.unlink()
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(CheckpointError, match="lacks 2 of 2 weight files: model-00001-of-00002"):
        secondsight.load(tmp_path, device="cpu")


def test_half_a_download_in_the_cache(
    tiny_llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub's cache, offline: what is missing, and the command that fetches it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--llava"
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for name in ("config.json", "tokenizer.model", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_llava / name).read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    command = f"hf download someone/llava --revision {commit}"
    with pytest.raises(CheckpointError, match=f"no weights.*{command}"):
        secondsight.load("someone/llava", local_files_only=True)
    with pytest.raises(CheckpointError, match=r"all missing.*hf download someone/other"):
        secondsight.load("someone/other", local_files_only=True)
