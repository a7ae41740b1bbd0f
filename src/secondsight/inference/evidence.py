"""Collects, step by step, what speaks for every token of every sample."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from secondsight.answer import TokenEvidence
from secondsight.decoding import Step


class EvidenceRecorder:
    """An observer of the loop that keeps a few numbers per token.

    Args:
        tokenizer: For the tokens' texts.
        view_names: The views' names, the original first.
        samples: Number of samples.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, view_names: Sequence[str], samples: int
    ) -> None:
        self._tokenizer = tokenizer
        self._names = list(view_names)
        self.tokens: list[list[TokenEvidence]] = [[] for _ in range(samples)]

    def __call__(self, step: Step) -> None:
        """Take note of one step."""
        chosen = step.tokens[:, None]
        final = step.scores.softmax(dim=-1).gather(-1, chosen)[:, 0].tolist()
        views = step.logits.softmax(dim=-1)
        given = views.gather(-1, chosen.expand(len(views), -1, -1))[..., 0].T.tolist()
        counts = None if step.plausible is None else step.plausible.sum(dim=-1).tolist()
        regular = step.logits[0].argmax(dim=-1).tolist()
        best = step.scores.argmax(dim=-1).tolist()
        for place, sample in enumerate(step.samples):
            token = int(step.tokens[place])
            self.tokens[sample].append(
                TokenEvidence(
                    id=token,
                    text=self._tokenizer.decode([token]),
                    probability=final[place],
                    view_probabilities=dict(zip(self._names, given[place], strict=True)),
                    plausible=None if counts is None else counts[place],
                    regular_id=regular[place],
                    regular_text=self._tokenizer.decode([regular[place]]),
                    changed=best[place] != regular[place],
                )
            )
