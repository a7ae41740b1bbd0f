"""Converting LLaVA-1.5 between its layouts: every bit, one file at a time, nothing overwritten."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import secondsight
from golden.recipe import recorded_hashes
from secondsight.checkpoints.convert import convert
from secondsight.checkpoints.sources import tensors
from secondsight.errors import CheckpointError

WriteOriginal = Callable[..., Path]
MakeImage = Callable[..., Image.Image]


def hashes(folder: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256(
            tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        ).hexdigest()
        for name, tensor in tensors(folder)
    }


def with_buffer(llama: dict[str, torch.Tensor]) -> None:
    llama["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.rand(8)


def test_there_and_back(
    write_original: WriteOriginal, tmp_path: Path, make_image: MakeImage
) -> None:
    """Every hash is the same again, and all three folders answer alike."""
    source = write_original(tmp_path, change=with_buffer)
    there = convert(source, tmp_path / "hf")
    back = convert(tmp_path / "hf", tmp_path / "again")
    assert there.layout == "hf"
    assert back.layout == "original"
    assert hashes(tmp_path / "again") == hashes(source)
    assert hashes(tmp_path / "again" / "clip-tiny") == hashes(tmp_path / "clip-tiny")
    config = json.loads((source / "config.json").read_text())
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == config
    answers = {
        secondsight.load(folder, device="cpu").answer(make_image(), "A cat?", max_new_tokens=8).ids
        for folder in (source, tmp_path / "hf", tmp_path / "again")
    }
    assert len(answers) == 1


def test_the_golden_checkpoint_keeps_its_hashes(
    golden_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """Both ways, every tensor has the recorded hash; the tower's too."""
    checkpoint = golden_checkpoint("tiny")
    convert(checkpoint, tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "again")
    language, tower = hashes(tmp_path / "again"), hashes(tmp_path / "again" / "clip-tiny-56")
    assert language == hashes(checkpoint)
    assert tower == hashes(checkpoint.parent / "clip-tiny-56")
    assert recorded_hashes("tiny").items() <= (language | tower).items()


def test_from_hugging_face(tiny_llava: Path, tmp_path: Path, make_image: MakeImage) -> None:
    """A checkpoint that never was in the original layout gets there, and back."""
    convert(tiny_llava, tmp_path / "original")
    convert(tmp_path / "original", tmp_path / "hf")
    asked = {"max_new_tokens": 8, "method": "vcd"}
    first, original, again = (
        secondsight.load(folder, device="cpu").answer(make_image(), "A cat?", **asked).ids
        for folder in (tiny_llava, tmp_path / "original", tmp_path / "hf")
    )
    assert first == original == again


def test_an_interrupted_conversion_goes_on(
    tiny_original: Path, tiny_llava: Path, tmp_path: Path
) -> None:
    done: list[str] = []

    def stop_at_the_third(name: str) -> None:
        done.append(name)
        if len(done) == 3:
            raise KeyboardInterrupt

    small: dict[str, Any] = {"shard_size": 50_000}
    with pytest.raises(KeyboardInterrupt):
        convert(tiny_original, tmp_path / "hf", progress=stop_at_the_third, **small)
    with pytest.raises(CheckpointError, match="unfinished conversion of something else"):
        convert(tiny_llava, tmp_path / "hf")
    resumed = convert(tiny_original, tmp_path / "hf", **small)
    assert resumed.resumed == 3
    whole = convert(tiny_original, tmp_path / "whole", **small)
    assert whole.resumed == 0
    assert hashes(tmp_path / "hf") == hashes(tmp_path / "whole")
    assert not list((tmp_path / "hf").glob("*.partial"))


def test_nothing_is_overwritten(tiny_original: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(CheckpointError, match="nothing is overwritten"):
        convert(tiny_original, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    convert(tiny_original, tmp_path / "hf")
    with pytest.raises(CheckpointError, match="nothing is overwritten"):
        convert(tiny_original, tmp_path / "hf")


def test_other_models_have_one_layout(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    with pytest.raises(CheckpointError, match=r"only LLaVA-1\.5"):
        convert(tmp_path, tmp_path / "out")


def test_a_trained_tower_travels(
    write_original: WriteOriginal, tmp_path: Path, make_image: Callable[..., Image.Image]
) -> None:
    """There and back with the tower that the checkpoint stores itself, not the stock one."""
    source = write_original(tmp_path, kind="single")
    stock = torch.load(tmp_path / "clip-tiny/pytorch_model.bin", weights_only=True)
    file = source / "pytorch_model.bin"
    own = {f"model.vision_tower.vision_tower.{name}": value * 1.5 for name, value in stock.items()}
    torch.save(torch.load(file, weights_only=True) | own, file)
    config = json.loads((source / "config.json").read_text()) | {"unfreeze_mm_vision_tower": True}
    (source / "config.json").write_text(json.dumps(config))
    convert(source, tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(source)
    assert json.loads((tmp_path / "again/config.json").read_text()) == config
    models = [
        secondsight.load(folder, device="cpu")
        for folder in (source, tmp_path / "hf", tmp_path / "again")
    ]
    answers = {model.answer(make_image(), "A cat?", max_new_tokens=8).ids for model in models}
    assert len(answers) == 1
    [weights] = {
        model.hf_model.model.vision_tower.post_layernorm.weight.sum().item() for model in models
    }
    assert weights == pytest.approx(
        own["model.vision_tower.vision_tower.vision_model.post_layernorm.weight"].sum().item()
    )


@pytest.mark.parametrize("layout", ["original", "hf"])
def test_what_lacks_a_tensor_is_not_converted(
    tiny_llava: Path, write_original: WriteOriginal, tmp_path: Path, layout: str
) -> None:
    """Nothing is written of a checkpoint that nobody could load afterwards."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        del weights[next(name for name in weights if "layers.1.mlp.up_proj" in name)]

    if layout == "original":
        source = write_original(tmp_path, change=change)
    else:
        source = Path(shutil.copytree(tiny_llava, tmp_path / "copy"))
        weights = load_file(source / "model.safetensors")
        change(weights)
        save_file(weights, source / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_positions_survive(tiny_llava: Path, tmp_path: Path) -> None:
    """What transformers 5 calls rope_parameters has older names in the original layout."""
    source = Path(shutil.copytree(tiny_llava, tmp_path / "copy"))
    config = json.loads((source / "config.json").read_text())
    scaling = {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}
    config["text_config"]["rope_parameters"] = scaling
    (source / "config.json").write_text(json.dumps(config))
    convert(source, tmp_path / "original")
    convert(tmp_path / "original", tmp_path / "hf")
    for folder in (source, tmp_path / "original", tmp_path / "hf"):
        read = secondsight.load(folder, device="cpu").hf_model.config.text_config.rope_parameters
        assert {key: read[key] for key in scaling} == scaling
