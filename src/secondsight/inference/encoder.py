"""What turns a sample into a model's inputs; one per family of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from secondsight.sample import Sample


class Encoder(Protocol):
    """Knows a family's conversation format and how it takes images."""

    tokenizer: PreTrainedTokenizerBase
    context_length: int
    """How many positions the model has for prompt and answer together."""

    def encode(self, sample: Sample, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A sample as model inputs, on the CPU.

        Args:
            sample: The sample, its images opened. Without one it becomes the same prompt
                without the image.
            like: What was returned for a sample with the same images and pixel filter, whose pixels
                may be taken over.

        Returns:
            Keyword arguments of the model's forward pass for a batch of one, with ``input_ids``
            and ``attention_mask`` of shape (1, tokens); pixels are float32.
        """
        ...

    def shareable(self, inputs: Mapping[str, Any]) -> int:
        """How many positions at the beginning of a prompt depend on nothing that follows.

        Args:
            inputs: What `encode` returned.

        Returns:
            The length of the beginning that questions on one image have in common, image
            included; 0 where later tokens change what earlier positions hold.
        """
        ...
