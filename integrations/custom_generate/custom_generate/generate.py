"""Decoding methods of secondsight as a folder for `generate(custom_generate=FOLDER)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


def generate(
    model: Any,
    method: str = "vcd",
    views: Sequence[Any] | None = None,
    images: Sequence[Any] | None = None,
    processor: Any = None,
    view_seed: int = 0,
    **arguments: Any,
) -> Any:
    """Generate with a decoding method, on unmodified models, in batches.

    Args:
        model: Passed by `generate`.
        method: The method, such as ``vcd``, ``m3id:decay=0.02`` or ``vcd+m3id``.
        views: The model inputs of each view beyond the original, where you make them yourself.
        images: The images of the batch, one per sample, for methods that look at a transformed
            image (``ritual``); with `processor`.
        processor: The model's processor.
        view_seed: Of what views draw: VCD's noise, RITUAL's transform.
        arguments: As for `generate`.

    Returns:
        What `generate` returns.

    Raises:
        ValueError: The method's views can be derived neither from tensors nor from `images`.
    """
    import secondsight

    if views is None:
        ids = arguments.get("input_ids")
        original = {
            name: value
            for name, value in arguments.items()
            if isinstance(value, torch.Tensor) and name != "inputs"
        }
        if ids is None:
            ids = original["input_ids"] = arguments["inputs"]
        made = secondsight.methods.create(method)
        wanted = made.views(secondsight.Sample(None, ""))[1:]
        draws = torch.Generator().manual_seed(view_seed)
        views = [_derived(model, view, original, images, processor, draws) for view in wanted]
    return model.generate(
        **arguments, custom_generate=secondsight.decode, method=method, views=views
    )


def _derived(
    model: Any,
    view: Any,
    original: Mapping[str, torch.Tensor],
    images: Sequence[Any] | None,
    processor: Any,
    draws: torch.Generator,
) -> Any:
    """The inputs of one view, of the whole batch or of each sample."""
    from secondsight.views import NoImage, Noised, Transformed, add_diffusion_noise

    if isinstance(view, NoImage):
        return _without_image(model, original)
    if isinstance(view, Noised):
        pixels = original["pixel_values"]
        noised = add_diffusion_noise(pixels, view.step, draws).to(pixels.dtype).to(pixels.device)
        return {**original, "pixel_values": noised}
    if getattr(view, "inside", False):  # the same inputs, read otherwise
        return dict(original)
    if isinstance(view, Transformed) and images is not None and processor is not None:
        return _transformed(view, original, images, processor, draws)
    raise ValueError(
        f"The view {view.name!r} cannot be derived from tensors: pass views=, or images= and "
        "processor= for a transformed image."
    )


def _without_image(model: Any, original: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    """Each sample's prompt without image tokens and padding."""
    slot, mask = model.config.image_token_id, original.get("attention_mask")
    kept = original["input_ids"] != slot
    if mask is not None:
        kept = kept & mask.bool()
    rest = {"input_ids": original["input_ids"], "attention_mask": mask}
    known = {name: value for name, value in rest.items() if value is not None}
    return [
        {name: value[row, kept[row]][None] for name, value in known.items()}
        for row in range(len(kept))
    ]


def _transformed(
    view: Any,
    original: Mapping[str, torch.Tensor],
    images: Sequence[Any],
    processor: Any,
    draws: torch.Generator,
) -> dict[str, Any]:
    """The batch with transformed images, where they take as many positions as before."""
    import secondsight

    seen = [view.apply(secondsight.Sample(one, ""), draws).images[0] for one in images]
    made = processor.image_processor(seen, return_tensors="pt")
    pixels = made["pixel_values"]
    if pixels.shape != original["pixel_values"].shape:
        raise ValueError(
            f"The transformed images give pixel_values of shape {tuple(pixels.shape)}, the "
            f"original ones {tuple(original['pixel_values'].shape)}: pass views= instead."
        )
    like = original["pixel_values"]
    return {**original, "pixel_values": pixels.to(like.dtype).to(like.device)}
