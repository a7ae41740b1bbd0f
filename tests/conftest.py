"""The recordings' checkpoints, a tiny random LLaVA, images; and what was left out, and why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from PIL import Image

import secondsight
import support.original
from golden.recipe import write_checkpoint
from golden.recordings import Run
from support import left_out
from support.images import make_image
from support.tiny import write_tiny

SHARED = Path(__file__).resolve().parents[2] / "shared"

torch.set_num_threads(1)
settings.register_profile("unhurried", deadline=None)  # speed is not what tests are about
settings.load_profile("unhurried")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were left out, and why."""
    left_out.report(terminalreporter)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out sampled recordings where torch draws other numbers from their seed."""
    for item in items:
        run = item.callspec.params.get("run") if hasattr(item, "callspec") else None
        if isinstance(run, Run) and not run.repeatable:
            item.add_marker(pytest.mark.skip(f"torch {torch.__version__} draws other numbers"))


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


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random LLaVA in Hugging Face's layout, with grouped-query attention."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "llava", image=42, kv_heads=2)


@pytest.fixture(scope="session")
def tiny_llava_mha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its sibling with as many key heads as query heads, and smaller images."""
    return write_tiny(tmp_path_factory.mktemp("tiny-mha") / "llava", image=28, kv_heads=4)


@pytest.fixture(scope="session")
def model(tiny_llava: Path) -> secondsight.Model:
    """The tiny random LLaVA, loaded. Tests must leave it as it was."""
    return secondsight.load(tiny_llava, device="cpu")


WriteOriginal = Callable[..., Path]


@pytest.fixture(scope="session")
def write_original(tiny_llava: Path) -> WriteOriginal:
    """Writes the tiny LLaVA in the original layout; see `support.original`."""

    def write(target: Path, **options: Any) -> Path:
        return support.original.write_original(tiny_llava, target, **options)

    return write


@pytest.fixture(scope="session")
def tiny_original(write_original: WriteOriginal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny LLaVA's weights in the original layout: .bin shards, the tower beside them."""
    return write_original(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="session", name="make_image")
def _make_image() -> Callable[..., Image.Image]:
    """Makes images: ``make_image(number, size)``."""
    return make_image


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    """`make_image` by its former name."""
    return make_image
