"""PaliGemma: a prompt without a chat template, and one without an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from secondsight.checkpoints.chat import ChatEncoder
from secondsight.checkpoints.families import register
from secondsight.sample import Sample


@register("paligemma")
class PaliGemmaEncoder(ChatEncoder):
    """Encodes the image, then the question as the prefix that the model was trained on."""

    single_turn = True
    templated = False
    looks_on = True

    def process(self, sample: Sample) -> Mapping[str, Any]:
        """The processor's inputs; without an image the same prefix less the image tokens.

        The processor refuses a prefix without an image, so that one is written here: beginning
        of sequence, question, newline, all of it prefix (token type 0).
        """
        question = self.plain(sample.question)
        if sample.images:
            shown = list(sample.images)
            text = self.processor.image_token * len(shown) + question
            inputs: Mapping[str, Any] = self.processor(
                images=[shown], text=text, return_tensors="pt"
            )
            return inputs
        prefix = f"{self.tokenizer.bos_token}{question}\n"
        ids = self.tokenizer(prefix, add_special_tokens=False, return_tensors="pt").input_ids
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "token_type_ids": torch.zeros_like(ids),
        }
