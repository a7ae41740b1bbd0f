"""What tells a model's weights from any other's: hub commits, and hashes read once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import secondsight
from secondsight.checkpoints import identity as module
from secondsight.checkpoints.identity import identity


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hashes are remembered here, from the first byte on."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(folder))
    monkeypatch.setattr(module, "_REMEMBERED_FROM", 0)
    return folder


@pytest.fixture
def copy(tiny_llava: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llava, tmp_path / "copy"))


def aged(folder: Path) -> None:
    """As if the files had been written long ago, all in the same moment."""
    for file in folder.iterdir():
        os.utime(file, (10**9, 10**9))


def test_it_is_the_content_that_counts(tiny_llava: Path, copy: Path) -> None:
    first = identity([tiny_llava])
    assert first.startswith("sha256:")
    assert identity([copy]) == first
    (copy / "README.md").write_text("words")
    (copy / "optimizer.pt").write_text("states")
    assert identity([copy]) == first
    for change in (_one_weight, _another_head, _another_template):
        before = identity([copy])
        change(copy)
        assert identity([copy]) != before


def _one_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = weights[name] + torch.zeros_like(weights[name]).index_fill(
        0, torch.tensor([0]), 1e-3
    )
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _another_head(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vision_feature_layer": -1}))


def _another_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")


def test_what_its_yes_and_no_mean_is_not_what_it_is(copy: Path) -> None:
    before = identity([copy])
    (copy / "doubts.json").write_text("{}", encoding="utf-8")
    assert identity([copy]) == before


def test_large_files_are_read_once(copy: Path, cache: Path, reads: list[str]) -> None:
    aged(copy)
    first = identity([copy])
    assert "model.safetensors" in reads
    reads.clear()
    assert identity([copy]) == first
    assert reads == []
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)  # the time of change is now
    reads.clear()
    assert identity([copy]) != first
    assert reads == ["model.safetensors"]
    (cache / "hashes.json").write_text("{")
    assert identity([copy]) != first


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bytes are hashed."""
    opened: list[str] = []
    plain: Callable[..., Any] = Path.open

    def spy(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode == "rb":
            opened.append(self.name)
        return plain(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", spy)
    return opened


def test_what_changed_just_now_is_read_again(copy: Path, reads: list[str]) -> None:
    """Within a clock's tick two contents could have one size and one time."""
    (copy / "model.safetensors").touch()
    identity([copy])
    reads.clear()
    identity([copy])
    assert "model.safetensors" in reads


def test_no_place_to_remember(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(copy)
    first = identity([copy])
    monkeypatch.setenv("SECONDSIGHT_CACHE", "/proc/nowhere")
    assert identity([copy]) == first


def test_the_hub_says_it_by_its_commit(copy: Path, tmp_path: Path, reads: list[str]) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--llava-hf--llava-1.5-7b-hf/snapshots" / commit
    folder.parent.mkdir(parents=True)
    copy.rename(folder)
    assert identity([folder]) == f"llava-hf/llava-1.5-7b-hf@{commit}"
    assert identity([folder], "4bit") == f"llava-hf/llava-1.5-7b-hf@{commit} in 4bit"
    assert reads == []


def test_models_know_theirs(
    tiny_llava: Path, tiny_original: Path, model: secondsight.Model, tmp_path: Path
) -> None:
    assert secondsight.load(tiny_llava, device="cpu").identity == identity([tiny_llava])
    original = secondsight.load(tiny_original, device="cpu").identity
    language, tower = original.split(" + ")
    assert language != tower
    other = shutil.copytree(tiny_original.parent, tmp_path / "moved") / tiny_original.name
    assert secondsight.load(other, device="cpu").identity == original
    by_hand = [
        secondsight.Model(model.hf_model, model.encoder, preset=model.preset, name="mine").identity
        for _ in range(2)
    ]
    assert by_hand[0] == by_hand[1]
    assert by_hand[0].startswith("sha256:")
