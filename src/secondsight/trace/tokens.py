"""Why each token: what every view and the final distribution thought, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from secondsight.decoding import Step
from secondsight.methods import Method
from secondsight.trace.config import plain
from secondsight.trace.keep import Keeper
from secondsight.trace.token_facts import Candidate, TokenFacts, ViewOpinion

_LN2: Final = math.log(2.0)


@dataclass(frozen=True)
class _Distributions:
    """The few numbers that are kept of one step; tensors, read once at the end."""

    token: int
    best: int
    log_probabilities: torch.Tensor
    ranks: torch.Tensor
    entropies: torch.Tensor
    divergences: torch.Tensor
    top_log_probabilities: torch.Tensor
    top_logits: torch.Tensor
    top_ids: torch.Tensor
    cutoff: float | None
    peak: float
    plausible: int | None
    facts: Mapping[str, Any]


class TokenRecorder:
    """Watches a sequence and keeps a few numbers per step.

    Args:
        method: The method, for its plausibility cutoff.
        names: The views' names, the original first.
        keep: How many candidates are kept per distribution.
        after_step: Called after every step.
        keeper: Keeps logits and scores whole, if it is asked to.
    """

    def __init__(
        self,
        method: Method,
        names: Sequence[str],
        *,
        keep: int,
        after_step: Callable[[], None],
        keeper: Keeper,
    ) -> None:
        self._method = method
        self._names = list(names)
        self._keep = keep
        self._after_step = after_step
        self._keeper = keeper
        self._steps: list[_Distributions] = []

    def __call__(self, step: Step) -> None:
        """Take note of one step."""
        del self._steps[step.index :]  # a sequence that starts again writes them again
        logits = torch.cat([step.logits, step.scores[None]])
        log_probabilities = logits.log_softmax(dim=-1)
        chosen = log_probabilities[:, step.token]
        top = logits.topk(min(self._keep, logits.shape[-1]), dim=-1)
        probabilities = log_probabilities.exp()
        entropies = torch.special.entr(probabilities).sum(dim=-1)
        self._steps.append(
            _Distributions(
                token=step.token,
                best=int(step.scores.argmax()),
                log_probabilities=chosen.cpu(),
                ranks=(log_probabilities > chosen[:, None]).sum(dim=-1).cpu() + 1,
                entropies=entropies.cpu() / _LN2,
                divergences=_divergences(log_probabilities[:-1], probabilities[:-1]).cpu(),
                top_log_probabilities=log_probabilities.gather(-1, top.indices).cpu(),
                top_logits=top.values.cpu(),
                top_ids=top.indices.cpu(),
                cutoff=self._cutoff(step),
                peak=float(log_probabilities[0].max()),
                plausible=None if step.plausible is None else int(step.plausible.sum()),
                facts=step.facts,
            )
        )
        for name, view in zip(self._names, step.logits, strict=True):
            self._keeper.append(f"logits.{name}", view)
        self._keeper.append("scores", step.scores)
        self._after_step()

    def _cutoff(self, step: Step) -> float | None:
        if step.plausible is None or not self._method.beta:
            return None
        return float(step.logits[0].max()) + math.log(self._method.beta)

    @property
    def ids(self) -> list[int]:
        """The tokens so far."""
        return [step.token for step in self._steps]

    def log_probabilities(self, view: str) -> list[float]:
        """What a view gave each token."""
        place = self._names.index(view)
        return [float(step.log_probabilities[place]) for step in self._steps]

    def facts(self, read: TokenReader, texts: Sequence[str]) -> tuple[TokenFacts, ...]:
        """Everything about every token.

        Args:
            read: Reads single tokens.
            texts: What each token adds to the answer.
        """
        return tuple(
            self._fact(index, step, text, read)
            for index, (step, text) in enumerate(zip(self._steps, texts, strict=True))
        )

    def _fact(self, index: int, step: _Distributions, text: str, read: TokenReader) -> TokenFacts:
        tops = [
            read.candidates(*row)
            for row in zip(step.top_ids, step.top_log_probabilities, step.top_logits, strict=True)
        ]
        views = tuple(
            ViewOpinion(
                view=name,
                top=tops[place],
                probability=math.exp(float(step.log_probabilities[place])),
                rank=int(step.ranks[place]),
                entropy=float(step.entropies[place]),
                js=float(step.divergences[place]),
            )
            for place, name in enumerate(self._names)
        )
        regular = int(step.top_ids[0, 0])
        cut = None
        if step.cutoff is not None and self._method.beta:
            cut = math.exp(step.peak) * self._method.beta
        return TokenFacts(
            index=index,
            id=step.token,
            piece=read.piece(step.token),
            text=text,
            probability=math.exp(float(step.log_probabilities[-1])),
            final=tops[-1],
            views=views,
            cutoff=step.cutoff,
            cutoff_probability=cut,
            plausible=step.plausible,
            regular_id=regular,
            regular_text=read.text(regular),
            changed=step.best != regular,
            facts=plain(step.facts),
        )


def with_dependence(
    tokens: Sequence[TokenFacts], without: Sequence[float] | None
) -> tuple[TokenFacts, ...]:
    """The tokens, with how much each depended on the image.

    Args:
        tokens: The tokens.
        without: The log-probability of each in the same place without the image, if known.
    """
    if without is None:
        return tuple(tokens)
    told = []
    for token, other in zip(tokens, without, strict=True):
        with_image = math.log(max(token.views[0].probability, 1e-30))
        bits = (with_image - other) / _LN2
        told.append(replace(token, without_image=math.exp(other), dependence=bits))
    return tuple(told)


def _divergences(log_probabilities: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence of each view from the first, in bits; 0 for the first itself."""
    divergences = log_probabilities.new_zeros(len(log_probabilities))
    if len(log_probabilities) > 1:
        others = log_probabilities[1:]
        first = log_probabilities[:1].expand_as(others)
        middle = torch.logaddexp(first, others) - _LN2
        both = probabilities[:1] * (first - middle) + probabilities[1:] * (others - middle)
        divergences[1:] = both.sum(dim=-1) / (2 * _LN2)
    return divergences.clamp(0, 1)


class TokenReader:
    """Texts of single tokens as they would follow a word, each read once.

    Args:
        tokenizer: Reads ids.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._word = tokenizer("a", add_special_tokens=False).input_ids[-1:]
        self._before = len(tokenizer.decode(self._word))
        self._texts: dict[int, str] = {}

    def piece(self, token: int) -> str:
        """How the vocabulary writes a token."""
        return str(self._tokenizer.convert_ids_to_tokens([token])[0])

    def text(self, token: int) -> str:
        """A token's text, its leading blank included, which it loses where it stands alone."""
        if token not in self._texts:
            whole = self._tokenizer.decode([*self._word, token])
            self._texts[token] = str(whole[self._before :])
        return self._texts[token]

    def candidates(
        self, ids: torch.Tensor, log_probabilities: torch.Tensor, logits: torch.Tensor
    ) -> tuple[Candidate, ...]:
        """A distribution's likeliest tokens; those without a chance are left out."""
        rows = zip(ids.tolist(), log_probabilities.tolist(), logits.tolist(), strict=True)
        return tuple(
            Candidate(token, self.text(token), math.exp(log), logit)
            for token, log, logit in rows
            if math.isfinite(logit)
        )
