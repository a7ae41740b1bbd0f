"""LLaVA-1.5's own pipeline: prompt, ids and pixels exactly as the original code makes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, LlavaConfig, PreTrainedTokenizerBase
from transformers.image_transforms import get_resize_output_image_size
from transformers.image_utils import ChannelDimension

from secondsight.images import pad_to_square, square_background
from secondsight.presets import Preset
from secondsight.prompts import (
    IMAGE_TOKEN_INDEX,
    Mark,
    Prompt,
    Turn,
    template,
    tokenize_with_images,
)
from secondsight.sample import Sample
from secondsight.strips import WHOLE, squared

_MARKS: Final = ("<im_start>", "<im_end>")
"""What models trained with ``mm_use_im_start_end`` see before and after an image."""


class LlavaEncoder:
    """Encodes samples for LLaVA-1.5, in Hugging Face's or the original layout.

    Args:
        config: The model's configuration.
        tokenizer: Llama's tokenizer.
        processor: CLIP's image processor, of the PIL backend: the one that parity is with.
        preset: The protocol: conversation template, and whether images are padded.
        marks: Ids written before and after the image; see `image_marks`.
    """

    def __init__(
        self,
        config: LlavaConfig,
        tokenizer: PreTrainedTokenizerBase,
        processor: CLIPImageProcessorPil,
        preset: Preset,
        *,
        marks: tuple[int, int] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.processor = processor
        self.preset = preset
        self.template = template(preset.template)
        text = config.text_config
        self.context_length = min(text.max_position_embeddings, tokenizer.model_max_length)
        self._image_token = config.image_token_id
        self._image_length = _image_length(config)
        before, after = ([mark] for mark in marks) if marks else ([], [])
        self._image = [*before, *[self._image_token] * self._image_length, *after]

    def prompt(self, sample: Sample) -> Prompt:
        """The sample's prompt, a slot per image; without one, the same text without the slot."""
        turns = [*sample.history, Turn(sample.question)]
        system = sample.system if sample.role is None else sample.role
        prompt = self.template.render(turns, images=_slots(sample), system=system)
        if sample.images:
            return prompt
        return Prompt(tuple(part for part in prompt.parts if part is not Mark.IMAGE))

    def pixels(self, sample: Sample) -> torch.Tensor:
        """The sample's pixel values, float32 of shape (images, 3, side, side), on the CPU."""
        images = [self._fitted(image) for image in sample.images]
        pixels: torch.Tensor = self.processor(images, return_tensors="pt")["pixel_values"]
        return sample.pixel_filter(pixels) if sample.pixel_filter else pixels

    def _fitted(self, image: Image.Image) -> Image.Image:
        """An image as the processor gets it: squared; a large one at the size that it makes it.

        The processor copies an image several times, and leaves one of the right size as it is.
        """
        processor, pad = self.processor, self.preset.pad
        edge = processor.size.get("shortest_edge") if processor.do_resize else None
        pixels = max(image.size) ** 2 if pad else image.width * image.height
        if edge is None or pixels <= WHOLE:
            return pad_to_square(image, processor.image_mean) if pad else image
        if pad:
            background = square_background(processor.image_mean)
            return squared(image, edge, processor.resample, background)
        empty = np.broadcast_to(np.uint8(0), (3, image.height, image.width))  # takes no memory
        height, width = get_resize_output_image_size(
            empty, edge, default_to_square=False, input_data_format=ChannelDimension.FIRST
        )
        return image.resize((width, height), processor.resample)

    def encode(self, sample: Sample, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See `Encoder.encode`."""
        ids: list[int] = []
        for token in tokenize_with_images(self.prompt(sample), self.tokenizer):
            ids += self._image if token == IMAGE_TOKEN_INDEX else [token]
        input_ids = torch.tensor([ids])
        inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if sample.images:
            inputs["pixel_values"] = self.pixels(sample) if like is None else like["pixel_values"]
        return inputs

    def shareable(self, inputs: Mapping[str, Any]) -> int:
        """See `Encoder.shareable`: everything up to the image's last patch; Llama is causal."""
        slots = (inputs["input_ids"][0] == self._image_token).nonzero()
        return int(slots[-1]) + 1 if len(slots) else 0


def _slots(sample: Sample) -> list[int]:
    """Slots before each question; as many where a view took the images away."""
    if sample.images:
        return [len(images) for images in sample.images_by_turn]
    turns = range(len(sample.history) + 1)
    return [sample.places.count(turn) if sample.places else int(turn == 0) for turn in turns]


def _image_length(config: LlavaConfig) -> int:
    """Positions that an image takes: its patches, and the class token where it is kept."""
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    return int(patches) + (config.vision_feature_select_strategy == "full")


def image_marks(
    config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> tuple[int, int] | None:
    """The ids around an image in models trained with ``mm_use_im_start_end``, otherwise None.

    Where the tokenizer does not know these tokens they are added in the original code's order, so
    that they get the ids that the model was trained with.

    Args:
        config: The original layout's config.json.
        tokenizer: Llama's tokenizer.
    """
    if not config.get("mm_use_im_start_end"):
        return None
    patch = ["<im_patch>"] if config.get("mm_use_im_patch_token") else []
    for token in (*patch, *_MARKS):
        if token not in tokenizer.get_vocab():
            tokenizer.add_tokens([token], special_tokens=True)
    start, end = tokenizer.convert_tokens_to_ids(list(_MARKS))
    return int(start), int(end)


def image_processor(folder: Path, config: LlavaConfig) -> CLIPImageProcessorPil:
    """CLIP's image processor from a folder, or CLIP's own settings at the tower's size."""
    if (folder / "preprocessor_config.json").is_file():
        return CLIPImageProcessorPil.from_pretrained(folder)
    side = config.vision_config.image_size
    return CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
