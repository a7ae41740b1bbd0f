"""Checks a LLaVA-1.5 checkpoint against numbers that its original code was seen to compute.

A reference is a JSON file: the configuration, the prompt's ids, and for tensors on the way from
the pixels to the language model their shapes and corners (the first and last three values of the
first and last three rows). The one for LLaVA-1.5-7B ships with the package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import torch

from secondsight.checkpoints.json_files import read_json
from secondsight.checkpoints.llava import LlavaEncoder
from secondsight.errors import CheckpointError, UnsupportedError
from secondsight.images import ImageSource, open_image
from secondsight.inference.model import Model
from secondsight.prompts import tokenize_with_images
from secondsight.sample import Sample

LLAVA_7B: Final = "llava-v1.5-7b"
"""The reference that ships with the package."""

_EDGE: Final = 3


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        name: What was compared.
        expected: What the reference says.
        found: What the checkpoint gives.
        passed: Whether they agree.
    """

    name: str
    expected: str
    found: str
    passed: bool


def reference(source: str | Path = LLAVA_7B) -> dict[str, Any]:
    """A reference by its name or its file.

    Raises:
        CheckpointError: There is none, or it cannot be read.
    """
    if source == LLAVA_7B:
        source = Path(
            str(resources.files("secondsight.checkpoints") / "references" / f"{source}.json")
        )
    return read_json(Path(source))


def verify(
    model: Model, expected: Mapping[str, Any], image: ImageSource | None = None
) -> list[Check]:
    """Compare a loaded model with a reference.

    Args:
        model: A LLaVA-1.5.
        expected: The reference.
        image: The reference's image, if not at the address that it names.

    Returns:
        Every comparison, in the order from the configuration to the language model's input.

    Raises:
        UnsupportedError: Not a LLaVA-1.5.
        ImageError: The image cannot be used.
        CheckpointError: It is not the reference's image.
    """
    if not isinstance(model.encoder, LlavaEncoder):
        raise UnsupportedError(f"{model.name!r} is no LLaVA-1.5, which the reference is of.")
    opened = open_image(image if image is not None else str(expected["image"]))
    size = expected.get("image_size")
    if size is not None and list(opened.size) != size:
        raise CheckpointError(
            f"The image has {opened.width} x {opened.height} pixels, the reference's "
            f"{size[0]} x {size[1]}: it is another one. The reference's is {expected['image']}."
        )
    sample = Sample(opened, str(expected["question"]))
    return [
        *_configuration(model, expected),
        *_prompt(model.encoder, sample, expected),
        *_tensors(model, sample, expected),
    ]


def _configuration(model: Model, expected: Mapping[str, Any]) -> Iterator[Check]:
    for name, want in expected.get("config", {}).items():
        found: Any = model.hf_model.config
        for part in name.split("."):
            found = getattr(found, part, None)
        yield _equal(f"config: {name}", want, found)
    for name, want in expected.get("generation", {}).items():
        yield _equal(f"generation: {name}", want, getattr(model.hf_model.generation_config, name))
    if "context_length" in expected:
        want = expected["context_length"]
        yield _equal("context length", want, model.encoder.context_length)


def _prompt(encoder: LlavaEncoder, sample: Sample, expected: Mapping[str, Any]) -> Iterator[Check]:
    if "ids" not in expected:
        return
    ids = tokenize_with_images(encoder.prompt(sample), encoder.tokenizer)
    want = list(expected["ids"])
    wrong = next((place for place, pair in enumerate(zip(ids, want)) if pair[0] != pair[1]), None)  # noqa: B905
    found = f"{len(ids)} ids" + ("" if wrong is None else f", the first other one at {wrong}")
    yield Check("prompt: ids", f"{len(want)} ids", found, ids == want)


@torch.no_grad()
def _tensors(model: Model, sample: Sample, expected: Mapping[str, Any]) -> Iterator[Check]:
    found = activations(model, sample)
    usual = expected.get("tolerance", {"absolute": 0.0, "relative": 0.0})
    for name, entry in expected.get("tensors", {}).items():
        tensor = found[name]
        yield _equal(f"{name}: shape", entry["shape"], list(tensor.shape))
        if "corners" not in entry or list(tensor.shape) != entry["shape"]:
            continue
        tolerance = entry.get("tolerance", usual)
        want = torch.tensor(entry["corners"], dtype=torch.float32)
        have = corners(tensor)
        allowed = tolerance["absolute"] + tolerance["relative"] * want.abs()
        off = (have - want).abs()
        yield Check(
            name=f"{name}: corners",
            expected=f"within {tolerance['absolute']:g} + {tolerance['relative']:.0%}",
            found=f"at most {float(off.max()):.2g} off",
            passed=bool((off <= allowed).all()),
        )


def activations(model: Model, sample: Sample) -> dict[str, torch.Tensor]:
    """A sample's tensors on the way to the language model, each without the batch.

    Returns:
        ``pixel_values`` (3, side, side), ``vision_features`` (patches, vision size),
        ``projected_features`` (patches, hidden size), ``input_embeddings`` (positions, hidden
        size).
    """
    llava: Any = model.hf_model
    config = llava.config
    inputs = model.encode(sample.image, sample.question)
    pixels = inputs["pixel_values"]
    seen = llava.model.vision_tower(pixels, output_hidden_states=True, return_dict=True)
    features = seen.hidden_states[config.vision_feature_layer]
    if config.vision_feature_select_strategy == "default":
        features = features[:, 1:]
    projected = llava.model.multi_modal_projector(features)
    embeddings = llava.get_input_embeddings()(inputs["input_ids"])
    slots = (inputs["input_ids"] == config.image_token_id).unsqueeze(-1)
    embeddings = embeddings.masked_scatter(slots, projected.to(embeddings.dtype))
    return {
        "pixel_values": pixels[0],
        "vision_features": features[0],
        "projected_features": projected[0],
        "input_embeddings": embeddings[0],
    }


def corners(tensor: torch.Tensor) -> torch.Tensor:
    """What a printed tensor shows: the edges of its rows; of an image, of each channel's first."""
    rows = tensor.to("cpu", torch.float32)
    if rows.ndim == 3:
        rows = rows[:, 0]
    if len(rows) > 2 * _EDGE:
        rows = torch.cat([rows[:_EDGE], rows[-_EDGE:]])
    return torch.cat([rows[:, :_EDGE], rows[:, -_EDGE:]], dim=1)


def _equal(name: str, want: Any, found: Any) -> Check:
    same = bool(want == found)
    return Check(name, str(want), str(found), same)
