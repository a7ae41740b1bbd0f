"""OPERA by hand: every hypothesis and every candidate in full passes of its own, whole windows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from reference.llama import Llama


@dataclass
class Slow:
    """A search over one prompt.

    Attributes:
        llama: The language model by hand.
        ids: The prompt.
        pixels: Its image.
        image: The image's positions.
        beams: How many hypotheses.
        candidates: How many tokens of each are looked at.
        weight: Of the penalty.
        threshold: Steps at which one token may be trusted most.
        official: Whether to do as the code does.
        rollbacks: The summary token, and how many tokens were left, of each.
    """

    llama: Llama
    ids: list[int]
    pixels: torch.Tensor
    image: range
    beams: int
    candidates: int
    weight: float
    threshold: int
    official: bool
    rollbacks: list[tuple[int, int]] = field(default_factory=list)

    def passed(self, written: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Logits after some tokens; and the last layer's attention, the most of any head."""
        found = self.llama.run(self.llama.embed([*self.ids, *written], self.pixels))
        logits = self.llama.logits(found.hidden[-1][-1]).double().numpy()
        return logits, found.attention[-1].amax(dim=0).double().numpy()

    def trust(self, written: tuple[int, ...]) -> tuple[np.ndarray, float]:
        """The column scores of all written tokens, and the newest one's look at the image."""
        _, attention = self.passed(written)
        rows = attention / attention.sum(axis=1, keepdims=True)
        start = len(self.ids)
        window = 50 * rows[start:, start:]
        columns = np.array([1e-7 * window[j:, j].prod() for j in range(len(written))])
        if self.official:
            columns = columns.astype(np.float32).astype(np.float16)
        return columns, float(rows[-1, list(self.image)].sum())

    def run(self, tokens: int) -> list[tuple[tuple[int, ...], float]]:
        """Hypotheses of so many tokens and their sums of log-probabilities, the best first."""
        beams: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
        history: list[list[int]] = [[] for _ in range(self.beams)]
        before: dict[int, tuple[list[tuple[tuple[int, ...], float]], list[list[int]]]] = {}
        chosen: dict[int, set[tuple[int, int]]] = {}
        rejected: dict[int, set[tuple[int, int]]] = {}
        times: dict[int, int] = {}
        step, anew = 0, None
        while step < tokens:
            if anew is None:
                before[step] = (list(beams), [list(one) for one in history])
            options = []
            trusted = []
            for place, (ids, score) in enumerate(beams):
                logits, _ = self.passed(ids)
                if anew is not None:
                    out = [token for at, token in rejected[anew] if at == place]
                    if self.official:
                        logits = logits - logits.min() - 999
                    logits[out] = -999 if self.official else -math.inf
                    logs = logits - np.logaddexp.reduce(logits)
                    best = np.argsort(-logs, kind="stable")[: 3 * self.beams]
                    options += [(score + logs[token], place, int(token)) for token in best]
                    continue
                best = np.argsort(-logits, kind="stable")[: self.candidates]
                seen = [self.trust((*ids, int(token))) for token in best]
                penalties = [
                    -image if step < 10 else float(columns.max()) for columns, image in seen
                ]
                punished = logits.copy()
                punished[best] = [
                    max(logits[token] - self.weight * penalty, -1e30)
                    for token, penalty in zip(best, penalties, strict=True)
                ]
                among = punished[best] if self.official else punished
                logs = punished[best] - np.logaddexp.reduce(among)
                options += [
                    (score + log, place, int(token)) for log, token in zip(logs, best, strict=True)
                ]
                trusted.append(mode([int(columns.argmax()) for columns, _ in seen]))
            if anew is None:
                trusted += trusted[:1] * (self.beams - len(trusted))
                for slot, at in zip(history, trusted, strict=True):
                    slot.append(at)
                summary, key = mode(trusted[: len(beams)]), mode(trusted[: len(beams)]) + 1
                slots = history if self.official else history[: len(beams)]
                often = all(slot.count(summary) > self.threshold for slot in slots)
                if times.get(key, 0) >= self.candidates:
                    key -= 1
                if often and summary >= 10 and times.get(key, 0) < self.candidates:
                    to = min(key, step - 1)
                    times[key] = times.get(key, 0) + 1
                    rejected[key] = rejected.get(key, set()) | chosen[to]
                    later = [at for at in rejected if at > key]
                    for at in [key + 1] if self.official else later:
                        rejected.pop(at, None)
                    beams = list(before[to][0])
                    kept = [slot[: to + 1] for slot in history]
                    history = kept if self.official else [list(one) for one in before[to][1]]
                    self.rollbacks.append((summary, to))
                    step, anew = to, key
                    continue
            options.sort(key=lambda one: -one[0])
            best_options = options[: self.beams]
            chosen[step] = {(place, token) for _, place, token in best_options}
            if not self.official:
                history = [list(history[place]) for _, place, _ in best_options]
                history += [[] for _ in range(self.beams - len(history))]
            beams = [((*beams[place][0], token), score) for score, place, token in best_options]
            step, anew = step + 1, None
        return beams


def mode(values: list[int]) -> int:
    """The commonest value, the smallest of several."""
    return int(np.bincount(values).argmax())
