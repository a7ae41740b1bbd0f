"""What speaks for every token of a sequence, collected step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from transformers import PreTrainedTokenizerBase

from secondsight.answer import TokenEvidence
from secondsight.decoding import Step


class EvidenceRecorder:
    """An observer of one sequence that keeps a few numbers per token.

    Args:
        tokenizer: For the tokens' texts.
        view_names: The views' names, the original first.

    Attributes:
        tokens: What was kept, by token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, view_names: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._names = list(view_names)
        self.tokens: list[TokenEvidence] = []

    def __call__(self, step: Step) -> None:
        """Take note of one step."""
        self.note(step)()

    def note(self, step: Step) -> Callable[[], None]:
        """See `Noting.note`."""
        return partial(self._add, step.index, self._evidence(step))

    def _add(self, index: int, evidence: TokenEvidence) -> None:
        del self.tokens[index:]  # a sequence that starts again writes them again
        self.tokens.append(evidence)

    def _evidence(self, step: Step) -> TokenEvidence:
        regular = int(step.logits[0].argmax())
        given = step.logits.softmax(dim=-1)[:, step.token].tolist()
        return TokenEvidence(
            id=step.token,
            text=self._tokenizer.decode([step.token]),
            probability=float(step.scores.softmax(dim=-1)[step.token]),
            view_probabilities=dict(zip(self._names, given, strict=True)),
            plausible=None if step.plausible is None else int(step.plausible.sum()),
            regular_id=regular,
            regular_text=self._tokenizer.decode([regular]),
            changed=int(step.scores.argmax()) != regular,
            facts=step.facts,
        )
