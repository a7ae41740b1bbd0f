"""The outputs that `generate` was asked to return besides ids, for the original view."""

from __future__ import annotations

from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation import GenerateDecoderOnlyOutput

from secondsight.decoding.cache import CACHE
from secondsight.decoding.looks import Look
from secondsight.decoding.rows import Rows


class Record:
    """Collects scores, logits, attentions and hidden states, as transformers shapes them.

    Args:
        rows: The model's rows.
        config: The generation configuration, which says what is wanted.
        prompt_length: Width of the original view's prompts.
    """

    def __init__(self, rows: Rows, config: GenerationConfig, prompt_length: int) -> None:
        self._rows = rows
        self._prompt_length = prompt_length
        self.wanted = bool(config.return_dict_in_generate)
        """Whether transformers' output class is returned rather than ids alone."""

        def start(asked: bool | None) -> tuple[Any, ...] | None:
            return () if self.wanted and asked else None

        self.scores = start(config.output_scores)
        self._logits = start(config.output_logits)
        self._attentions = start(config.output_attentions)
        self._hidden_states = start(config.output_hidden_states)

    @property
    def options(self) -> dict[str, bool]:
        """What the model's forward pass must be asked for."""
        return {
            name: True
            for name, kept in (
                ("output_attentions", self._attentions),
                ("output_hidden_states", self._hidden_states),
            )
            if kept is not None
        }

    def add(self, look: Look, scores: torch.Tensor) -> None:
        """Keep what is wanted of one step."""
        samples = len(look.original)
        if self.scores is not None:
            self.scores += (scores,)
        if self._logits is not None:
            self._logits += (look.original,)
        # Views may have longer prompts; the original's own tokens are the last ones.
        seen = self._prompt_length + self._rows.length - self._rows.width
        if self._attentions is not None:
            self._attentions += (
                tuple(
                    layer[:samples, :, -self._prompt_length :, -seen:]
                    for layer in look.output.attentions
                ),
            )
        if self._hidden_states is not None:
            self._hidden_states += (
                tuple(
                    layer[:samples, -self._prompt_length :] for layer in look.output.hidden_states
                ),
            )

    def result(self, sequences: torch.Tensor) -> GenerateDecoderOnlyOutput | torch.Tensor:
        """What `generate` returns."""
        if not self.wanted:
            return sequences
        start = self._rows.width - self._prompt_length
        return GenerateDecoderOnlyOutput(
            sequences=sequences,
            scores=self.scores,
            logits=self._logits,
            attentions=self._attentions,
            hidden_states=self._hidden_states,
            **{CACHE: self._rows.cache.export(self._rows.samples, start, self._rows.length - 1)},
        )
