"""A loaded checkpoint as data: the transformers model, and what turns samples into its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from secondsight.errors import QuestionError
from secondsight.inference.encoder import Encoder
from secondsight.layout import PromptLayout, image_slot, prompt_layout
from secondsight.presets import Preset
from secondsight.sample import Sample


@dataclass(frozen=True, eq=False)
class Backbone:
    """A model and its encoder.

    Attributes:
        hf_model: The transformers model.
        encoder: Turns samples into its inputs.
        preset: The protocol that the encoder follows.
        name: How the model was asked for.
        revision: The commit on the hub, if it came from there.
        stored_generation: The generation configuration as the checkpoint has it.
        stored_config: The checkpoint's own ``config.json``; None where there is none.
    """

    hf_model: PreTrainedModel
    encoder: Encoder
    preset: Preset
    name: str
    revision: str | None
    stored_generation: GenerationConfig
    stored_config: Mapping[str, Any] | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return self.encoder.tokenizer

    def encode(self, sample: Sample, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A sample's model inputs, on the CPU.

        Args:
            sample: The sample, its images opened.
            like: See `Encoder.encode`.

        Raises:
            QuestionError: The prompt leaves no position for an answer.
        """
        inputs = self.encoder.encode(sample, like)
        length = inputs["input_ids"].shape[1]
        if length >= self.encoder.context_length:
            raise QuestionError(
                f"The prompt has {length} positions, image included; the model's context has "
                f"{self.encoder.context_length}. Ask a shorter question."
            )
        return inputs

    def layout(self, inputs: Mapping[str, Any]) -> PromptLayout:
        """Say where the image is in a prompt, given its inputs as `encode` returns them."""
        slot = image_slot(self.hf_model.config)
        return prompt_layout(inputs["input_ids"], slot)

    def to_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Inputs on the model's device, pixels in its dtype."""

        def move(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            dtype = self.hf_model.dtype if value.is_floating_point() else None
            return value.to(device=self.hf_model.device, dtype=dtype)

        return {key: move(value) for key, value in inputs.items()}

    def facts(self) -> dict[str, Any]:
        """What an answer's provenance says about the model."""
        return {
            "model": self.name,
            "revision": self.revision,
            "dtype": str(self.hf_model.dtype).removeprefix("torch."),
            "device": str(self.hf_model.device),
            "preset": self.preset.name,
        }


def weights_hash(model: PreTrainedModel) -> str:
    """``sha256:...`` over names, types, shapes and bytes of a model that came from no files."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())  # numpy: no bfloat16
    return f"sha256:{digest.hexdigest()}"
