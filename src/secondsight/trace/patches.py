"""Which positions of a prompt are which patches, and the image that they are patches of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from PIL import Image

from secondsight.inference.backbone import Backbone

Grid = tuple[int, int]
"""Rows and columns of patches."""

_OVERVIEW: Final = {
    "gemma3": 0,
    "llava_next": 0,
    "llava_onevision": 0,
    "idefics3": -1,
    "internvl": -1,
    "smolvlm": -1,
}
"""Families that cut an image into tiles, by `model_type`: which tile shows the whole of it."""

_UNPADDED: Final = ("llava_next", "llava_onevision")
"""Families whose other tiles lose the positions of padding, and gain ends of lines."""

_IN_NUMBERS: Final = "Attention to it is in the numbers, and not drawn."
_QUERIES: Final = (
    "A Q-Former stands between the patches and the language model, whose attention goes to its "
    f"queries. {_IN_NUMBERS}"
)
_DIFFERENT_SIZES: Final = f"The images have patch grids of their own. {_IN_NUMBERS}"
_NO_OVERVIEW: Final = f"The image is cut into tiles, and none shows all of it. {_IN_NUMBERS}"
_NO_GRID: Final = f"The image's positions form no grid of patches that is known. {_IN_NUMBERS}"


@dataclass(frozen=True)
class Patches:
    """The image's positions in a prompt.

    Attributes:
        everywhere: All of them.
        shown: Those of the image that can be drawn on, in its reading order; all of them where
            none can.
        grid: Their rows and columns; None where they form no image.
        image: That image, as the vision tower gets it.
        title: What it is.
        note: Why attention cannot be drawn, or on what it is drawn; None where that is plain.
    """

    everywhere: torch.Tensor
    shown: torch.Tensor
    grid: Grid | None = None
    image: Image.Image | None = None
    title: str = "as the model sees it: resized, cropped, normalised"
    note: str | None = None


def find_patches(backbone: Backbone, inputs: Mapping[str, Any], images: int) -> Patches | None:
    """Where a view's patches are; None without an image.

    Args:
        backbone: The model.
        inputs: The view's inputs.
        images: How many images the question has.
    """
    config = backbone.hf_model.config
    pixels, layout = inputs.get("pixel_values"), backbone.layout(inputs)
    if pixels is None or not layout.image:
        return None
    places = layout.image_positions
    if hasattr(config, "num_query_tokens"):
        return _undrawn(places, _QUERIES)
    processor = image_processor(backbone)
    grids = inputs.get("image_grid_thw")
    if grids is not None:
        if len(grids) > 1:
            return _undrawn(places, _DIFFERENT_SIZES)
        return _flattened(places, pixels, grids[0].tolist(), processor)
    tiles = pixels[0] if pixels.ndim == 5 else pixels
    if tiles.ndim != 4 or (pixels.ndim == 5 and images > 1):
        return _undrawn(places, _NO_OVERVIEW if tiles.ndim == 4 else _NO_GRID)
    if pixels.ndim == 4 and len(tiles) == images:
        return _side_by_side(places, tiles, processor)
    return _overview(places, tiles, config, images, processor)


def image_processor(backbone: Backbone) -> Any:
    """What makes pixels of images in a processor."""
    processor = getattr(backbone.encoder, "processor", None)
    return getattr(processor, "image_processor", processor)


def as_image(pixels: torch.Tensor, processor: Any) -> Image.Image | None:
    """Normalised pixels as an image again: what the vision tower really gets.

    Args:
        pixels: Of shape (3, height, width).
        processor: The image processor, for its mean and deviation.

    Returns:
        The image, values beyond black and white cut off; None for other layouts.
    """
    mean, deviation = getattr(processor, "image_mean", None), getattr(processor, "image_std", None)
    if pixels.ndim != 3 or len(pixels) != 3 or mean is None or deviation is None:
        return None
    values = pixels.to("cpu", torch.float32)
    restored = values * torch.tensor(deviation)[:, None, None] + torch.tensor(mean)[:, None, None]
    array = (restored.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(array)


def _undrawn(places: torch.Tensor, note: str) -> Patches:
    return Patches(places, places, note=note)


def _grid(count: int, height: int, width: int) -> Grid | None:
    """Rows and columns of so many patches of an image."""
    rows = round((count * height / width) ** 0.5)
    return (rows, count // rows) if rows and rows * (count // rows) == count else None


def _side_by_side(places: torch.Tensor, images: torch.Tensor, processor: Any) -> Patches:
    """One image, or several of one size in a row."""
    count = len(images)
    grid = _grid(len(places) // count, *images.shape[-2:])
    row = as_image(torch.cat(list(images), dim=-1), processor)
    if grid is None or row is None or len(places) % count:
        return _undrawn(places, _NO_GRID)
    rows, columns = grid
    ordered = places.reshape(count, rows, columns).transpose(0, 1).flatten()
    return Patches(places, ordered, (rows, columns * count), row)


def _overview(
    places: torch.Tensor, tiles: torch.Tensor, config: Any, images: int, processor: Any
) -> Patches:
    """The tile that shows the whole image, where one does."""
    kind = str(config.model_type)
    tile = _OVERVIEW.get(kind)
    count = len(places) // len(tiles)
    if kind in _UNPADDED:
        count = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    grid = _grid(count, *tiles.shape[-2:])
    whole = None if tile is None or images > 1 else as_image(tiles[tile], processor)
    if whole is None or grid is None:
        return _undrawn(places, _NO_OVERVIEW)
    return Patches(
        places,
        places[:count] if tile == 0 else places[-count:],
        grid,
        whole,
        title="the overview tile as the model sees it",
        note=f"The image is cut into {len(tiles)} tiles. Attention is drawn on the one that "
        f"shows the whole: {count} of the image's {len(places)} positions.",
    )


def _flattened(
    places: torch.Tensor, pixels: torch.Tensor, grid: list[int], processor: Any
) -> Patches:
    """Qwen-VL's patches: flattened, in blocks that are merged into one position each."""
    frames, height, width = grid
    merge, patch = int(processor.merge_size), int(processor.patch_size)
    rows, columns = height // merge, width // merge
    if frames != 1 or rows * columns != len(places):
        return _undrawn(places, _NO_GRID)
    blocks = pixels.reshape(rows, columns, merge, merge, 3, -1, patch, patch)[:, :, :, :, :, 0]
    image = blocks.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, height * patch, width * patch)
    return Patches(places, places, (rows, columns), as_image(image, processor))
