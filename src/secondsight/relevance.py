"""Which parts of an image a question is about, and the image with nothing else in it.

AGLA (arXiv 2406.12718) asks an image-text matching model. Anything else that marks parts of an
image may be registered under a name of its own: ``agla:relevance=NAME``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from secondsight.devices import best_device
from secondsight.errors import CheckpointError, ImageError, MethodError, nearest
from secondsight.extras import needed

MATCHER: Final = "Salesforce/blip-itm-large-coco"
"""The matching model of AGLA's code: BLIP, 0.45 billion parameters, tuned on COCO."""

SIDE: Final = 384
"""What images are squeezed to before parts of them are blackened."""

_LAYER: Final = 6
"""The text layer whose attention to the image counts, from 0."""

_LONGEST: Final = 35
"""Tokens of a question that the matcher reads."""

_FORMAT: Final = re.compile(
    r"\s*Please answer this question with one word\.?|"
    r"\s*Answer the question using a single word or phrase\.?"
)
"""How benchmarks say what an answer should look like, which no image is about."""


@dataclass(frozen=True)
class Relevance:
    """How much each part of an image matters.

    Attributes:
        weights: Of shape (rows, columns), any scale; more is more relevant.
        share: How much of the image stays, from 0 to 1.
    """

    weights: npt.NDArray[np.float32]
    share: float


Finder = Callable[[Image.Image, str], Relevance]
"""Says how much the parts of an image matter for a question."""

_FINDERS: dict[str, Finder] = {}


def register_relevance(name: str, finder: Finder) -> None:
    """Make a way to find relevant parts known by a name."""
    _FINDERS[name] = finder


def check_relevance(name: str) -> None:
    """See that a way to find relevant parts is known.

    Raises:
        MethodError: It is not.
    """
    if name != "blip" and name not in _FINDERS:
        known = ("blip", *_FINDERS)
        raise MethodError(f"agla knows no relevance {name!r}.{nearest(name, known)}")


def relevant_part(image: Image.Image, question: str, relevance: str, matcher: str) -> Image.Image:
    """An image with nothing in it but what a question is about.

    Args:
        image: The image, RGB.
        question: The question; what it says of the answer's form is left out.
        relevance: ``blip``, or the name of what was registered.
        matcher: The matching model behind ``blip``, by name or folder.

    Raises:
        CheckpointError: The matching model cannot be loaded.
        ImageError: What was registered did not give a map.
    """
    bare = _FORMAT.sub("", question).strip()
    found = (
        matched(image, bare, matcher) if relevance == "blip" else _FINDERS[relevance](image, bare)
    )
    return blackened(image, found)


def blackened(image: Image.Image, relevance: Relevance) -> Image.Image:
    """The image, squeezed to a square, with all but its most relevant part black.

    The weights are spread over the pixels and blurred; the given share of the pixels stays.

    Raises:
        ImageError: The weights are no map, or not finite.
    """
    weights = np.asarray(relevance.weights, dtype=np.float64)
    if weights.ndim != 2 or not weights.size or not np.isfinite(weights).all():
        raise ImageError("The relevance of an image must be a map of finite numbers.")
    with needed("agla", "agla"):
        from scipy import ndimage
    spread = ndimage.zoom(
        _scaled(weights),
        (SIDE / weights.shape[0], SIDE / weights.shape[1]),
        order=3,
        mode="grid-constant",
        grid_mode=True,
    )
    spread = spread.clip(0, 1)  # cubic splines swing beyond the values that they go through
    spread = _scaled(ndimage.gaussian_filter(spread, 0.02 * SIDE))
    last = min(int(spread.size * relevance.share), spread.size - 1)
    threshold = np.sort(spread, axis=None)[::-1][last]
    pixels = np.array(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    pixels[spread < threshold] = 0
    return Image.fromarray(pixels)


def _scaled(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """From 0 to 1; a flat map stays flat."""
    above: npt.NDArray[np.float64] = weights - weights.min()
    return above / above.max() if above.max() > 0 else above


_LOADING: Final = threading.Lock()


@cache
def _matcher(name: str) -> tuple[Any, Any]:
    """The matching model and its processor."""
    from transformers import BlipForImageTextRetrieval, BlipProcessor

    try:
        processor = BlipProcessor.from_pretrained(name)
        model = BlipForImageTextRetrieval.from_pretrained(name).eval().requires_grad_(False)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"agla's matching model {name!r} cannot be loaded: {str(error).splitlines()[0]} "
            "Fetch it with 'hf download', name another with agla:matcher=..., or give the second "
            "image yourself with views=."
        ) from error
    return model.to(best_device()), processor


def matched(image: Image.Image, question: str, name: str) -> Relevance:
    """What an image-text matching model looks at when it reads a question (Grad-CAM).

    Attention of one text layer to the image, times the positive part of its gradient towards "they
    match", mean over heads and words. The less alike image and question are, the more stays.

    Args:
        image: The image, RGB.
        question: The question.
        name: A BLIP model with matching and similarity heads, by name or folder.

    Raises:
        CheckpointError: It cannot be loaded.
    """
    with _LOADING:
        model, processor = _matcher(name)
    caption = _caption(question)
    inputs = processor(
        images=image, text=caption, return_tensors="pt", truncation=True, max_length=_LONGEST
    ).to(model.device)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    with torch.no_grad():
        seen = model.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state
        read = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        sides = (model.vision_proj(seen[:, 0]), model.text_proj(read[:, 0]))
        alike = float(torch.cosine_similarity(*sides))
    with torch.enable_grad():
        weights, match = _attention_to_image(model, ids, mask, seen)
        (towards,) = torch.autograd.grad(match, weights)
    patches = (weights.detach() * towards.clamp(min=0))[0, :, 1:-1, 1:].mean(dim=(0, 1))
    side = int(len(patches) ** 0.5)
    share = min(1 - alike / 2, 1 - 1e-5)
    return Relevance(patches.reshape(side, -1).float().cpu().numpy(), share)


def _attention_to_image(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention weights (1, heads, words, patches), and the logit of a match behind them."""
    kept: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> Any:
        kept.append(output[1])

    layers = model.text_encoder.encoder.layer
    attention = layers[min(_LAYER, len(layers) - 1)].crossattention.self
    asked = ids.clone()
    asked[:, 0] = model.config.text_config.vocab_size - 1  # BLIP's mark of a text about an image
    hook = attention.register_forward_hook(keep)
    try:
        read = model.text_encoder(
            input_ids=asked,
            attention_mask=mask,
            encoder_hidden_states=seen.requires_grad_(),
            encoder_attention_mask=torch.ones(seen.shape[:2], device=seen.device),
        )
    finally:
        hook.remove()
    return kept[0], model.itm_head(read.last_hidden_state[:, 0])[0, 1]


def _caption(question: str) -> str:
    """A question as the matcher was taught to read captions."""
    words = re.sub(r"[.!\"()*#:;~]", " ", question.lower()).split()
    return " ".join(words[:50])
