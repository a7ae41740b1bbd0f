"""The outputs that `generate` was asked to return besides ids, for the original view."""

from __future__ import annotations

from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation import GenerateDecoderOnlyOutput

from secondsight.decoding.engine import Engine
from secondsight.decoding.transformers5 import CACHE


class Record:
    """Collects scores, logits, attentions and hidden states, as transformers shapes them.

    Args:
        config: The generation configuration, which says what is wanted.
        prompt_length: Width of the original view's prompts.

    Attributes:
        wanted: Whether transformers' output class is returned rather than ids alone.
        scores: The final scores of every step, if they were asked for.
    """

    def __init__(self, config: GenerationConfig, prompt_length: int) -> None:
        self._prompt_length = prompt_length
        self.wanted = bool(config.return_dict_in_generate)

        def start(asked: bool | None) -> tuple[Any, ...] | None:
            return () if self.wanted and asked else None

        self.scores = start(config.output_scores)
        self._logits = start(config.output_logits)
        self._attentions = start(config.output_attentions)
        self._hidden_states = start(config.output_hidden_states)
        self._cache: Any = None

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

    def add(self, engine: Engine, scores: torch.Tensor, *, steps: int) -> None:
        """Keep what is wanted of one step.

        Args:
            engine: The engine, in the middle of the step.
            scores: The final scores, float32 of shape (sequences, vocabulary).
            steps: How many tokens were generated before.
        """
        scoring, samples = engine.scoring, len(engine.running)
        assert scoring is not None
        if self.scores is not None:
            self.scores += (scores,)
        if self._logits is not None:
            self._logits += (scoring.base,)
        # Views may have longer prompts; the original's own tokens are the last ones.
        seen = self._prompt_length + steps
        if self._attentions is not None:
            self._attentions += (
                tuple(
                    layer[:samples, :, -self._prompt_length :, -seen:]
                    for layer in scoring.output.attentions
                ),
            )
        if self._hidden_states is not None:
            self._hidden_states += (
                tuple(
                    layer[:samples, -self._prompt_length :]
                    for layer in scoring.output.hidden_states
                ),
            )
        if self.wanted:
            rows = [sequence.rows[0] for sequence in engine.running]
            self._exported = engine.pool, rows, seen

    def close(self) -> None:
        """Keep the cache as it is now, before its rows are given back."""
        if self.wanted:
            pool, rows, seen = self._exported
            self._cache = pool.export(rows, pool.head - seen)

    def result(self, sequences: torch.Tensor) -> GenerateDecoderOnlyOutput | torch.Tensor:
        """What `generate` returns."""
        if not self.wanted:
            return sequences
        return GenerateDecoderOnlyOutput(
            sequences=sequences,
            scores=self.scores,
            logits=self._logits,
            attentions=self._attentions,
            hidden_states=self._hidden_states,
            **{CACHE: self._cache},
        )
