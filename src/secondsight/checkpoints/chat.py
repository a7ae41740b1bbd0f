"""Any vision-language model, by its own processor and chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Final

import torch
from jinja2 import TemplateError
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin

from secondsight.checkpoints.damage import in_a_line
from secondsight.errors import UnsupportedError
from secondsight.sample import Sample

_NOT_FOR_FORWARD: Final = ("labels", "token_length", "offset_mapping")
"""What some processors return besides the inputs of the forward pass."""

_UNLIMITED: Final = 10**9
"""Tokenizers without a limit of their own say a number above this."""


class ChatEncoder:
    """Encodes samples through a processor and its chat template.

    Views that change the image act before the processor, views that change pixels on the pixel
    tensor that it makes, in whatever shape the family uses: an image, tiles, flattened patches.
    Without an image the conversation is templated without an image; the template stays.

    Args:
        config: The model's configuration.
        processor: The family's processor.
    """

    model_class: ClassVar[Any] = None
    """The class of the family's models; None for transformers' own choice."""

    single_turn = False
    """Whether the family takes one question, and no conversation."""

    templated = True
    """Whether questions are written by a chat template."""

    looks_on = False
    """Whether an image or its positions see the question behind them."""

    def __init__(self, config: PreTrainedConfig, processor: ProcessorMixin) -> None:
        self.processor = processor
        self.tokenizer: PreTrainedTokenizerBase = processor.tokenizer
        self.context_length = context_length(config, self.tokenizer)
        self.family = str(config.model_type)
        self._controls = control_strings(processor, self.tokenizer)
        self._image_token = getattr(config, "image_token_id", None)
        self._shares = not self.looks_on and not windowed(config)
        if self.templated and not processor.chat_template:
            raise UnsupportedError(
                f"This {self.family} checkpoint has no chat template (chat_template.jinja), and so "
                "nothing says how its questions are written."
            )

    def encode(self, sample: Sample, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See `Encoder.encode`; processors make prompt and pixels at once, so `like` is no help."""
        sample = self._in_role(sample)
        if self.single_turn and sample.history:
            raise UnsupportedError(
                f"{self.family} models answer single questions: they were not trained on "
                "conversations, so history cannot be given to them."
            )
        if self.single_turn and sample.system is not None:
            raise UnsupportedError(f"{self.family} models take a question and no system text.")
        inputs = {
            key: value
            for key, value in self.process(sample).items()
            if value is not None and key not in _NOT_FOR_FORWARD
        }
        if sample.images and sample.pixel_filter is not None:
            inputs["pixel_values"] = self._filtered(inputs, sample)
        return inputs

    def shareable(self, inputs: Mapping[str, Any]) -> int:
        """See `Encoder.shareable`: up to the last position of an image, where nothing looks on."""
        if not self._shares:
            return 0
        slots = (inputs["input_ids"][0] == self._image_token).nonzero()
        return int(slots[-1]) + 1 if len(slots) else 0

    def process(self, sample: Sample) -> Mapping[str, Any]:
        """What the processor makes of a sample, as tensors."""
        conversation = self.conversation(sample)
        try:
            if sample.system is not None:
                self._check_system(conversation)
            inputs: Mapping[str, Any] = self.processor.apply_chat_template(
                conversation,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        except (TemplateError, ValueError, TypeError, IndexError, KeyError) as error:
            count = len(sample.images)
            shown = (
                ("without an image", "with an image")[count]
                if count < 2
                else f"with {count} images"
            )
            raise UnsupportedError(
                f"The processor of this {self.family} model does not take the question {shown}: "
                f"{in_a_line(error)}"
            ) from error
        return inputs

    def _in_role(self, sample: Sample) -> Sample:
        """A sample whose role stands in the system text, or before the question."""
        if sample.role is None:
            return sample
        if self._takes_system:
            return replace(sample, system=sample.role, role=None)
        return replace(sample, question=f"{sample.role} {sample.question}", role=None)

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the chat template has a place for a system text."""
        if self.single_turn or not self.templated:
            return False
        probe = Sample(None, "?", system="system text")
        try:
            written = self.processor.apply_chat_template(self.conversation(probe), tokenize=False)
        except (TemplateError, ValueError, TypeError, IndexError, KeyError):
            return False
        return "system text" in written

    def _check_system(self, conversation: list[dict[str, Any]]) -> None:
        """Refuse a system text that the chat template would leave out without a word."""
        written = self.processor.apply_chat_template(conversation, tokenize=False)
        if conversation[0]["content"][0]["text"].strip() not in written:
            raise UnsupportedError(
                f"The chat template of this {self.family} model has no place for a system text. "
                "Say it in the question."
            )

    def conversation(self, sample: Sample) -> list[dict[str, Any]]:
        """The conversation as chat templates take it; each question carries its images."""
        messages: list[dict[str, Any]] = []
        if sample.system is not None:
            text = [{"type": "text", "text": self.plain(sample.system)}]
            messages.append({"role": "system", "content": text})
        turns = [*((turn.question, turn.answer) for turn in sample.history)]
        asked = [*turns, (sample.question, None)]
        for (question, answer), images in zip(asked, sample.images_by_turn, strict=True):
            content: list[dict[str, Any]] = [{"type": "image", "image": one} for one in images]
            content.append({"type": "text", "text": self.plain(question)})
            messages.append({"role": "user", "content": content})
            if answer is not None:
                text = [{"type": "text", "text": self.plain(answer)}]
                messages.append({"role": "assistant", "content": text})
        return messages

    def plain(self, text: str) -> str:
        """Text in which nothing is read as an image or another special token."""
        return without_controls(text, self._controls)

    def _filtered(self, inputs: Mapping[str, Any], sample: Sample) -> torch.Tensor:
        pixels = inputs.get("pixel_values")
        if not isinstance(pixels, torch.Tensor) or sample.pixel_filter is None:
            raise UnsupportedError(
                f"{self.family} models do not take pixel_values, which this method disturbs."
            )
        return sample.pixel_filter(pixels.to(torch.float32))


def context_length(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Positions for prompt and answer together: the tighter of the model's and the tokenizer's."""
    model = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    limits = [int(limit) for limit in (model, tokenizer.model_max_length) if limit]
    return min([limit for limit in limits if limit < _UNLIMITED], default=_UNLIMITED)


def windowed(config: PreTrainedConfig) -> bool:
    """Whether layers of the language model see a window only.

    It is counted along the cache, where prompts that share their beginning have gaps.
    """
    text = config.get_text_config(decoder=True)
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        return getattr(text, "sliding_window", None) is not None
    return any(kind != "full_attention" for kind in kinds)


def control_strings(*owners: Any) -> re.Pattern[str]:
    """A pattern of every text that processors or tokenizers take for more than text."""
    names: set[str] = set()
    for owner in owners:
        if isinstance(owner, PreTrainedTokenizerBase):
            names |= {str(token) for token in owner.all_special_tokens}
            names |= {str(t) for t in owner.added_tokens_decoder.values() if t.special}
        for kind in ("image", "video", "audio", "boi", "eoi", "fake_image", "global_image"):
            names.add(str(getattr(owner, f"{kind}_token", None) or ""))
    # A shorter one could not be broken up, and is a word or a sign that the text may well need.
    long = sorted((name for name in names if len(name) > 2), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, long)) or r"(?!)")


def without_controls(text: str, controls: re.Pattern[str]) -> str:
    """Break every control string up with a blank behind its first character.

    It stays readable, and most questions hold none and are left as they are.
    """
    while controls.search(text):
        text = controls.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text
