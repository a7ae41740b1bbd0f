"""Loading, in both layouts, and what is said of a checkpoint that cannot be."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import secondsight
from secondsight import CheckpointError, UserError
from secondsight.errors import Remark

WriteOriginal = Callable[..., Path]


def load(folder: Path | str, **options: Any) -> secondsight.Model:
    return secondsight.load(folder, device="cpu", **options)


@pytest.fixture
def broken(tiny_llava: Path, tmp_path: Path) -> Path:
    """A copy of the Hugging Face folder, to be damaged."""
    return Path(shutil.copytree(tiny_llava, tmp_path / "copy"))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def drop_some(weights: dict[str, torch.Tensor]) -> None:
    del weights[next(name for name in weights if "layers.1.mlp.up_proj" in name)]


def add_one(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.9.mlp.extra.weight"] = torch.zeros(2, 2)


def misshape(weights: dict[str, torch.Tensor]) -> None:
    name = next(name for name in weights if "layers.0.self_attn.q_proj.weight" in name)
    weights[name] = torch.zeros(3, 5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "single"},
        {"kind": "safetensors"},
        {"projector": "file"},
        {"kind": "safetensors", "projector": "file"},
    ],
    ids=str,
)
def test_the_original_layout_is_the_same_model(
    model: secondsight.Model,
    write_original: WriteOriginal,
    tmp_path: Path,
    make_image: Callable[..., Image.Image],
    options: dict[str, Any],
) -> None:
    original = load(write_original(tmp_path, **options))
    want = model.hf_model.state_dict()
    have = original.hf_model.state_dict()
    assert have.keys() == want.keys()
    for name, value in want.items():
        assert torch.equal(have[name], value), name
    assert original.hf_model.dtype == torch.float32
    assert not original.hf_model.training
    question = "Is there a dog in the image?"
    one, two = (m.encode(make_image(1), question) for m in (model, original))
    assert torch.equal(one["pixel_values"], two["pixel_values"])
    with torch.no_grad():
        first, second = model.hf_model(**one).logits, original.hf_model(**two).logits
    torch.testing.assert_close(first[:, -1], second[:, -1], atol=1e-5, rtol=1e-5)
    assert second.shape[-1] == model.hf_model.config.text_config.vocab_size


def test_the_tower_elsewhere(
    write_original: WriteOriginal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = write_original(tmp_path, tower="far/away/tower")
    with pytest.raises(CheckpointError, match="vision_tower=") as caught:
        load(folder)
    assert "openai/clip-tiny" in str(caught.value)
    tower = tmp_path / "far/away/tower"
    assert load(folder, vision_tower=tower).hf_model.model.vision_tower is not None
    assert load(folder, vision_tower=str(tower)).name == str(folder)
    with pytest.raises(CheckpointError, match="nowhere"):
        load(folder, vision_tower=tmp_path / "nowhere")


@pytest.mark.parametrize("layout", ["hugging face", "original"])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop_some, "layers.1.mlp.up_proj"),
        (add_one, "layers.9.mlp.extra"),
        (misshape, "layers.0.self_attn.q_proj"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    broken: Path,
    write_original: WriteOriginal,
    tmp_path: Path,
    layout: str,
    change: Callable[[dict[str, torch.Tensor]], None],
    named: str,
) -> None:
    if layout == "original":
        folder = write_original(tmp_path / "original", change=change)
    else:
        folder = broken
        rewrite(folder, change)
    with pytest.raises(CheckpointError, match=named.replace(".", r"\.")):
        load(folder)


@pytest.mark.parametrize("layout", ["hugging face", "original .bin", "original safetensors"])
@pytest.mark.parametrize("damage", ["no weights", "cut", "empty", "garbage", "a shard is missing"])
def test_damaged_weights(
    broken: Path, write_original: WriteOriginal, tmp_path: Path, layout: str, damage: str
) -> None:
    folder = broken
    if layout.startswith("original"):
        kind = layout.split(".")[-1].removeprefix("original ")
        folder = write_original(tmp_path / "original", kind=kind)
    weights = sorted({*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")})
    assert weights
    if damage == "no weights":
        for path in (*weights, *folder.glob("*.index.json")):
            path.unlink()
    elif damage == "a shard is missing":
        weights[-1].unlink()
    else:
        data = weights[-1].read_bytes()
        weights[-1].write_bytes(
            {"cut": data[: len(data) // 2], "empty": b"", "garbage": b"\x80\x02junk" * 99}[damage]
        )
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_an_unfinished_projector_is_named(write_original: WriteOriginal, tmp_path: Path) -> None:
    folder = write_original(tmp_path, projector="file")
    (folder / "mm_projector.bin").unlink()
    with pytest.raises(CheckpointError, match="multi_modal_projector"):
        load(folder)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "bert"}, "bert"),
        ({"model_type": "gpt2"}, "gpt2"),
        ({"model_type": "llava_mpt", "mm_vision_tower": "x"}, "llava_mpt"),
        (
            {"model_type": "llava", "mm_vision_tower": "x", "mm_projector_type": "linear"},
            "linear",
        ),
        (
            {"model_type": "llava", "mm_vision_tower": "x", "mm_projector_type": "identity"},
            "identity",
        ),
    ],
)
def test_another_model(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '"x"', "\x00"])
def test_a_config_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(tmp_path)


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(tmp_path)


def test_no_tokenizer(broken: Path) -> None:
    for path in broken.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        load(broken)


@pytest.mark.parametrize(
    "name", ["/no/such/folder", "./nothing", "~/nothing-here", "a/b/c", "word"]
)
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(CheckpointError, match=name.split("/")[-1]):
        load(name)


def test_a_file(broken: Path) -> None:
    with pytest.raises(CheckpointError, match="folder"):
        load(broken / "config.json")


def test_the_hub_without_a_network_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"hf download llava-hf/llava-1\.5-7b-hf"):
        load("llava-hf/llava-1.5-7b-hf")


class Malice:
    """A pickle that would leave a mark if it were obeyed."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("how", ["torch.save", "bare pickle", "projector", "hugging face"])
def test_a_malicious_pickle_is_not_obeyed(
    broken: Path, write_original: WriteOriginal, tmp_path: Path, how: str
) -> None:
    mark = tmp_path / "executed"
    content = {"model.embed_tokens.weight": Malice(mark)}
    if how == "hugging face":
        folder = broken
        (folder / "model.safetensors").unlink()
        torch.save(content, folder / "pytorch_model.bin")
    else:
        folder = write_original(tmp_path / "original", kind="single", projector="file")
        name = "mm_projector.bin" if how == "projector" else "pytorch_model.bin"
        if how == "bare pickle":
            (folder / name).write_bytes(pickle.dumps(content))
        else:
            torch.save(content, folder / name)
    with pytest.raises(CheckpointError):
        load(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "toaster"}, "toaster"),
        ({"dtype": "float13"}, "float16"),
        ({"preset": "llava-oficial"}, "llava-official"),
    ],
)
def test_settings_that_are_none(tiny_llava: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        secondsight.load(tiny_llava, **options)


@pytest.mark.parametrize("layout", ["hugging face", "original"])
@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, "float32"])
def test_dtype(tiny_llava: Path, tiny_original: Path, layout: str, dtype: Any) -> None:
    loaded = load(tiny_llava if layout == "hugging face" else tiny_original, dtype=dtype)
    want = torch.float32 if dtype == "float32" else torch.bfloat16
    assert {weights.dtype for weights in loaded.hf_model.parameters()} == {want}
    answer = loaded.answer(Image.new("RGB", (20, 20)), "What is it?", max_new_tokens=3)
    assert len(answer.ids) <= 3


def test_half_precision_is_widened_on_a_cpu(write_original: WriteOriginal, tmp_path: Path) -> None:
    def halve(weights: dict[str, torch.Tensor]) -> None:
        for name, value in weights.items():
            weights[name] = value.half()

    folder = write_original(tmp_path, change=halve)
    assert load(folder).hf_model.dtype == torch.float32


def test_the_bundled_model() -> None:
    from secondsight.checkpoints.loading import bundled_folder

    if not (bundled_folder() / "model.safetensors").is_file():
        pytest.skip("the bundled model is not there yet (training/ makes it)")
    model = secondsight.load(device="cpu")
    size = sum(path.stat().st_size for path in bundled_folder().glob("*.safetensors"))
    assert size < 20 * 2**20
    answer = model.answer(Image.new("RGB", (256, 256), "white"), "What is in the picture?")
    assert answer.text
    assert model.tokenizer.convert_tokens_to_ids("<image>") == model.hf_model.config.image_token_id


def trained_tower(source: Path, folder: Path, *, unfrozen: bool) -> dict[str, torch.Tensor]:
    """Store a tower of its own in an original checkpoint, as the original code does."""
    tower = torch.load(source / "pytorch_model.bin", weights_only=True)
    tuned = {name: value * 1.5 for name, value in tower.items() if value.is_floating_point()}
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())
    last = folder / sorted(set(index["weight_map"].values()))[-1]
    stored = {f"model.vision_tower.vision_tower.{name}": value for name, value in tuned.items()}
    torch.save(torch.load(last, weights_only=True) | stored, last)
    config = json.loads((folder / "config.json").read_text())
    config["unfreeze_mm_vision_tower"] = unfrozen
    (folder / "config.json").write_text(json.dumps(config))
    return {name.removeprefix("vision_model."): value for name, value in tuned.items()}


def tower_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load(folder).hf_model.model.vision_tower.state_dict())


def equal(have: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> bool:
    return have.keys() == want.keys() and all(torch.equal(have[name], want[name]) for name in want)


def test_a_trained_tower_is_the_checkpoints_own(
    write_original: WriteOriginal, tmp_path: Path
) -> None:
    folder = write_original(tmp_path)
    stock = tower_of(folder)
    tuned = trained_tower(tmp_path / "clip-tiny", folder, unfrozen=True)
    assert not equal(stock, tuned)
    assert equal(tower_of(folder), tuned)
    (tmp_path / "clip-tiny/pytorch_model.bin").unlink()  # nothing of the stock one is needed
    assert equal(tower_of(folder), tuned)


def test_a_tower_that_was_not_trained_is_the_stock_one(
    write_original: WriteOriginal, tmp_path: Path
) -> None:
    """As in the original code; that another one is stored does not go unsaid."""
    folder = write_original(tmp_path)
    stock = tower_of(folder)
    trained_tower(tmp_path / "clip-tiny", folder, unfrozen=False)
    with pytest.warns(Remark, match="unfreeze_mm_vision_tower"):
        assert equal(tower_of(folder), stock)


def test_a_copy_of_the_stock_tower_needs_no_word(
    write_original: WriteOriginal, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    folder = write_original(tmp_path)
    trained_tower(tmp_path / "clip-tiny", folder, unfrozen=False)
    stored = torch.load(tmp_path / "clip-tiny/pytorch_model.bin", weights_only=True)
    tuned = {n: v * 1.5 if v.is_floating_point() else v for n, v in stored.items()}
    torch.save(tuned, tmp_path / "clip-tiny/pytorch_model.bin")
    tower_of(folder)
    assert not [one for one in recwarn if issubclass(one.category, Remark)]


def test_the_scaling_of_positions_is_read(write_original: WriteOriginal, tmp_path: Path) -> None:
    """Older names of what transformers 5 calls rope_parameters."""
    changed = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    folder = write_original(tmp_path, config=changed)
    config = json.loads((folder / "config.json").read_text())
    config.pop("rope_parameters", None)
    (folder / "config.json").write_text(json.dumps(config))
    read = load(folder).hf_model.config.text_config.rope_parameters
    assert (read["rope_theta"], read["rope_type"], read["factor"]) == (5e5, "linear", 2.0)
