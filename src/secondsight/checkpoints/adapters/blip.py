"""InstructBLIP and BLIP-2: a Q-Former between the image and a language model without a chat.

Their `generate` hands embeddings to the inner language model, which would leave the loop without
ids and images. The classes here keep every weight and module, and generate like any other model:
ids with image slots go in, and the Q-Former's features take the slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    Blip2ForConditionalGeneration,
    GenerationMixin,
    InstructBlipForConditionalGeneration,
    PreTrainedConfig,
    ProcessorMixin,
)

from secondsight.checkpoints.chat import ChatEncoder, control_strings
from secondsight.checkpoints.families import register
from secondsight.errors import CheckpointError, UnsupportedError
from secondsight.sample import Sample


class _FeaturesInSlots:
    """Generation from ids whose image slots the Q-Former's features take."""

    main_input_name = "input_ids"
    generate = GenerationMixin.generate

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        qformer_input_ids: torch.Tensor | None = None,
        qformer_attention_mask: torch.Tensor | None = None,
        mm_encoder_outputs: Mapping[str, Any] | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        """The language model's output; images as pixels, encoded before, or none."""
        model: Any = self
        embeddings = model.get_input_embeddings()(input_ids)
        features = (mm_encoder_outputs or {}).get("image")
        if features is None and pixel_values is not None:
            question = {
                "qformer_input_ids": qformer_input_ids,
                "qformer_attention_mask": qformer_attention_mask,
            }
            asked = question if qformer_input_ids is not None else {}
            features = model.get_image_features(pixel_values, return_dict=True, **asked)
        if features is not None:
            slots = (input_ids == model.config.image_token_id).unsqueeze(-1)
            pooled = features.pooler_output.to(embeddings.device, embeddings.dtype)
            embeddings = embeddings.masked_scatter(slots, pooled)
        return model.language_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )


class InstructBlip(_FeaturesInSlots, InstructBlipForConditionalGeneration):
    """InstructBLIP that generates from ids."""


class Blip2(_FeaturesInSlots, Blip2ForConditionalGeneration):
    """BLIP-2 that generates from ids."""


@register("instructblip")
class BlipEncoder(ChatEncoder):
    """Encodes an image's slots, then the question, which InstructBLIP's Q-Former reads too.

    Old checkpoints know no image token. Any id that text never becomes will do for the slots,
    since features take their place; the padding id is one.
    """

    model_class = InstructBlip
    single_turn = True
    templated = False
    looks_on = True
    prompt = "{question}"

    def __init__(self, config: PreTrainedConfig, processor: ProcessorMixin) -> None:
        super().__init__(config, processor)
        self._readers = [self.tokenizer]
        if hasattr(processor, "qformer_tokenizer"):
            self._readers.append(processor.qformer_tokenizer)
        self._controls = control_strings(processor, *self._readers)
        self._slots = int(config.num_query_tokens)
        if config.image_token_id is None:
            config.image_token_index = self._unused_id(config)
        self._image_token = int(config.image_token_id)

    def _unused_id(self, config: PreTrainedConfig) -> int:
        taken = {self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, None}
        size = config.get_text_config(decoder=True).vocab_size
        for token in (self.tokenizer.pad_token_id, self.tokenizer.unk_token_id):
            if token not in taken and token < size:
                return int(token)
        raise CheckpointError(
            f"This {self.family} checkpoint has neither an image token nor a padding or unknown "
            "token that could stand for the image."
        )

    def process(self, sample: Sample) -> Mapping[str, Any]:
        """Slots and question as ids, the question for the Q-Former, and the image."""
        if not sample.images:
            raise UnsupportedError(
                f"{self.family} has no form without an image: its language model was trained to "
                "read what its Q-Former makes of an image. Methods with an image-free view "
                "(m3id, lcd) cannot be used with it; ritual and vcd can."
            )
        if len(sample.images) > 1:
            raise UnsupportedError(
                f"{self.family} takes one image per question: its Q-Former was trained on one. "
                f"{len(sample.images)} were given."
            )
        text = self.prompt.format(question=self.plain(sample.question))
        ids = torch.tensor([[self._image_token] * self._slots + self.tokenizer(text).input_ids])
        pixels = self.processor.image_processor(sample.images[0], return_tensors="pt")
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values": pixels["pixel_values"],
        }
        for reader in self._readers[1:]:
            read = reader(text, return_tensors="pt")
            inputs["qformer_input_ids"] = read.input_ids
            inputs["qformer_attention_mask"] = read.attention_mask
        return inputs


@register("blip-2")
class Blip2Encoder(BlipEncoder):
    """BLIP-2 asks in the words of its paper (arXiv 2301.12597, section 4.2)."""

    model_class = Blip2
    looks_on = False
    prompt = "Question: {question} Answer:"
