"""`secondsight verify`: on the golden checkpoint with its numbers, on another one as failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import secondsight
from golden import recordings
from secondsight.checkpoints.verify import activations, corners, reference, verify
from secondsight.errors import CheckpointError, UnsupportedError

MakeImage = Callable[..., Image.Image]


def recorded() -> dict[str, Any]:
    """A reference of the golden checkpoint's numbers, for its first image and prompt."""
    inputs, meta = recordings.inputs(), recordings.meta()

    def entry(tensor: torch.Tensor) -> dict[str, Any]:
        return {"shape": list(tensor[0].shape), "corners": corners(tensor[0]).tolist()}

    return {
        "name": "the golden checkpoint",
        "image": str(recordings.IMAGES[0]),
        "image_size": [96, 64],
        "question": meta["prompts"][0],
        "config": {"text_config.hidden_size": 64, "vision_config.image_size": 56},
        "ids": meta["input_ids"][0],
        "tolerance": {"absolute": 1e-3, "relative": 0.0},
        "tensors": {
            "pixel_values": entry(inputs["pixel_values_pad_0"]),
            "vision_features": entry(inputs["vision_features_0"]),
            "projected_features": entry(inputs["projected_features_0"]),
            "input_embeddings": {"shape": [49 + 16, 64]},
        },
    }


def test_the_golden_checkpoint_passes(golden_model: Callable[..., secondsight.Model]) -> None:
    checks = verify(golden_model(), recorded())
    assert [check for check in checks if not check.passed] == []
    assert len(checks) == 2 + 1 + 4 + 3


def test_the_command(golden_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    import typer

    from secondsight.cli.verify import verify as command

    app = typer.Typer()
    app.command()(command)
    file = tmp_path / "golden.json"
    file.write_text(json.dumps(recorded()))
    checkpoint = str(golden_checkpoint("tiny"))
    good = CliRunner().invoke(app, [checkpoint, "--reference", str(file), "--device", "cpu"])
    assert good.exit_code == 0, good.output
    assert "FAIL" not in good.output
    changed = recorded()
    changed["tensors"]["vision_features"]["corners"][0][0] += 0.1
    file.write_text(json.dumps(changed))
    bad = CliRunner().invoke(app, [checkpoint, "--reference", str(file), "--json"])
    assert bad.exit_code == 1
    assert '"passed": false' in bad.output


def test_the_7b_reference_is_that_of_the_seed(seed: Path) -> None:
    """The numbers that ship are the document's, and its photograph gives its pixels and ids."""
    expected = reference()
    document = next(seed.glob("*.txt")).read_text()
    for name in ("vision_features", "projected_features", "input_embeddings"):
        for row in expected["tensors"][name]["corners"]:
            for value in row:
                assert f"{value:.4f}" in document
    assert len(expected["ids"]) == 50


def test_another_checkpoint_fails_everywhere(
    model: secondsight.Model, make_image: MakeImage
) -> None:
    checks = verify(model, {**reference(), "image_size": None}, make_image())
    failed = {check.name for check in checks if not check.passed}
    assert {"config: text_config.hidden_size", "vision_features: shape", "prompt: ids"} <= failed


def test_activations_are_what_the_language_model_reads(
    model: secondsight.Model, make_image: MakeImage
) -> None:
    sample = secondsight.Sample(make_image(), "A cat?")
    with torch.no_grad():
        seen = activations(model, sample)
        logits = model.hf_model(
            inputs_embeds=seen["input_embeddings"].unsqueeze(0), use_cache=False
        ).logits
        whole = model.hf_model(**model.encode(make_image(), "A cat?"), use_cache=False).logits
    torch.testing.assert_close(logits, whole)


def test_another_image_is_refused(model: secondsight.Model, make_image: MakeImage) -> None:
    with pytest.raises(CheckpointError, match="it is another one"):
        verify(model, reference(), make_image())


def test_other_families_are_refused(make_image: MakeImage) -> None:
    class Other:
        encoder = None
        name = "other"

    with pytest.raises(UnsupportedError, match=r"no LLaVA-1\.5"):
        verify(Other(), reference(), make_image())  # type: ignore[arg-type]
