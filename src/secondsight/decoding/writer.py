"""What has been written so far, who is still writing, and when it ends."""

from __future__ import annotations

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer


class Writer:
    """The sequences of the original view, as `generate` returns them.

    Logits processors and stopping criteria always see the whole batch, whoever has finished.

    Args:
        input_ids: The prompts, int64 of shape (batch, tokens).
        config: The generation configuration.
        criteria: When a sequence ends.
        streamer: Gets every token as it is chosen.
    """

    def __init__(
        self,
        input_ids: torch.Tensor,
        config: GenerationConfig,
        criteria: StoppingCriteriaList,
        streamer: BaseStreamer | None,
    ) -> None:
        batch, self._length = input_ids.shape
        room = max(config.max_length - self._length, 0)
        self._ids = torch.cat([input_ids, input_ids.new_zeros((batch, room))], dim=-1)
        self._criteria = criteria
        self._streamer = streamer
        self._unfinished = torch.ones(batch, dtype=torch.bool, device=input_ids.device)
        pads = any(hasattr(criterion, "eos_token_id") for criterion in criteria)
        self._pad = int(config._pad_token_tensor) if pads else None
        self.active = list(range(batch))
        """The samples whose tokens are still computed."""
        self.steps = 0
        """How many tokens have been written to each sequence."""
        self.finished = room == 0

    @property
    def sequences(self) -> torch.Tensor:
        """Prompts and answers so far, int64 of shape (batch, tokens)."""
        return self._ids[:, : self._length]

    @property
    def last_tokens(self) -> torch.Tensor:
        """The tokens that were written last, of the active samples."""
        last = self._ids[:, self._length - 1]
        return last if len(self.active) == len(last) else last[self.active]

    def process(self, processors: LogitsProcessorList, scores: torch.Tensor) -> torch.Tensor:
        """Apply logits processors to the active samples' scores."""
        if not processors:
            return scores
        if len(self.active) == len(self._ids):
            return processors(self.sequences, scores)
        everyone = scores.new_zeros((len(self._ids), scores.shape[-1]))
        everyone[self.active] = scores
        return processors(self.sequences, everyone)[self.active]

    def write(self, tokens: torch.Tensor, scores: tuple[torch.Tensor, ...] | None) -> None:
        """Write the active samples' tokens; whoever has finished gets padding.

        Args:
            tokens: int64 of shape (active samples,).
            scores: What `generate` hands to stopping criteria: the scores recorded so far.
        """
        column = self._ids[:, self._length]
        if len(self.active) == len(column):
            column.copy_(tokens)
        else:
            column.fill_(self._pad or 0)
            column[self.active] = tokens
        if self._pad is not None:
            column.masked_fill_(~self._unfinished, self._pad)
        self._length += 1
        self.steps += 1
        self._unfinished &= ~self._criteria(self.sequences, scores)
        if self._streamer is not None:
            self._streamer.put(column.cpu())
        self.finished = not bool(self._unfinished.any())

    def drop_finished(self) -> list[int]:
        """Stop computing tokens for samples that have finished.

        Returns:
            The places, among the samples that were active, of those that still are.
        """
        unfinished = self._unfinished.tolist()
        kept = [place for place, sample in enumerate(self.active) if unfinished[sample]]
        self.active = [self.active[place] for place in kept]
        return kept

    def close(self) -> torch.Tensor:
        """End the stream, and return the sequences."""
        if self._streamer is not None:
            self._streamer.end()
        return self.sequences
