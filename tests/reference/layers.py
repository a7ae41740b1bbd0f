"""DoLa, DeCo, ONLY and ReVisiT for one position, after the fact sheets of their codes.

Each takes what a full pass left, the position whose next token is to be chosen, and returns the
scores (minus infinity where a token has no chance) and what was decided on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .llama import Llama, Pass

Decision = tuple[Tensor, dict[str, Any]]


def kept(logits: Tensor, beta: float) -> Tensor:
    """At least `beta` times as likely as the likeliest."""
    if beta == 0:
        return torch.ones_like(logits, dtype=torch.bool)
    return logits >= logits.max() + math.log(beta)


def reversed_divergence(p: Tensor, q: Tensor) -> Tensor:
    """DoLa's and ReVisiT's, of log-probabilities: the two terms the wrong way round."""
    middle = (p.exp() + q.exp()) / 2
    entropy = torch.xlogy(middle, middle)
    return ((entropy - middle * p).sum(-1) + (entropy - middle * q).sum(-1)) / 2


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Jensen and Shannon's, of log-probabilities."""
    middle = ((p.exp() + q.exp()) / 2).log()
    return ((p.exp() * (p - middle)).sum(-1) + (q.exp() * (q - middle)).sum(-1)) / 2


def dola(
    llama: Llama,
    seen: Pass,
    at: int,
    layers: Sequence[int],
    *,
    beta: float = 0.1,
    measure: Any = reversed_divergence,
) -> Decision:
    """Contrast with the candidate layer that is farthest from the last; no norm before its head."""
    mature = llama.logits(seen.hidden[-1][at])
    early = [llama.logits(seen.hidden[layer][at]) for layer in layers]
    p = mature.log_softmax(-1)
    distances = torch.stack([measure(p, z.log_softmax(-1)) for z in early])
    chosen = int(distances.argmax())
    if beta == 0:
        scores = mature - early[chosen]
    else:
        scores = p - early[chosen].log_softmax(-1)
        scores[~kept(mature, beta)] = -math.inf
    return scores, {
        "layer": layers[chosen],
        "base": mature,
        "branch": early[chosen],
        "js_divs": distances / len(p),
    }


def deco(
    llama: Llama,
    seen: Pass,
    at: int,
    layers: Sequence[int],
    *,
    alpha: float = 0.6,
    top_p: float = 0.9,
    top_k: int = 20,
) -> Decision:
    """Add the layer that is surest of one of the likeliest tokens, as much as it is sure."""
    base = llama.logits(seen.hidden[-1][at])
    ordered = base.softmax(-1).sort(descending=True)
    candidates = []
    total = 0.0
    for probability, token in zip(
        ordered.values[:top_k].tolist(), ordered.indices.tolist(), strict=False
    ):
        candidates.append(token)
        total += probability
        if total >= top_p:
            break
    best, anchor = -1.0, -1
    for layer in layers:
        sure = llama.logits(llama.final_norm(seen.hidden[layer][at])).softmax(-1)[candidates].max()
        if float(sure) > best:
            best, anchor = float(sure), layer
    early = llama.logits(llama.final_norm(seen.hidden[anchor][at]))
    scores = torch.full_like(base, -math.inf)
    scores[candidates] = base[candidates] + alpha * best * early[candidates]
    facts = {"layer": anchor, "layer_prob": best, "candidates": candidates}
    return scores, {**facts, "base": base, "branch": early}


def _entropy(weights: Tensor) -> Tensor:
    shares = weights / weights.sum()
    return -(shares * (shares + 1e-6).log()).sum()


def _without_outliers(weights: Tensor) -> tuple[Tensor, int]:
    outlying = weights > weights.mean() + weights.std()
    return weights.masked_fill(outlying, 0), int(outlying.sum())


def only(
    llama: Llama,
    seen: Pass,
    at: int,
    image: tuple[int, int],
    *,
    layer: int = 0,
    alpha_pos: float = 3.0,
    alpha_neg: float = 1.0,
    gamma: float = 0.2,
    beta: float = 0.1,
) -> Decision:
    """One layer's attention with the heads that look at the text, read off at once."""
    start, stop = image
    heads = []
    facts: dict[str, Any] = {name: [] for name in ("entropy_text", "entropy_image")}
    facts |= {"n_outlier_text": [], "n_outlier_image": []}
    for row in seen.attention[layer][:, at, : at + 1]:
        words, dropped_words = _without_outliers(torch.cat([row[1:start], row[stop:]]))
        patches, dropped_patches = _without_outliers(row[start:stop])
        heads.append(torch.cat([row[:1], words[: start - 1], patches, words[start - 1 :]]))
        of_words, of_patches = _entropy(words), _entropy(patches)
        facts["entropy_text"].append(0.0 if of_words.isnan() else float(of_words))
        facts["entropy_image"].append(math.inf if of_patches.isnan() else float(of_patches))
        facts["n_outlier_text"].append(dropped_words)
        facts["n_outlier_image"].append(dropped_patches)
    ratios = torch.tensor(facts["entropy_text"]) / torch.tensor(facts["entropy_image"])
    removed = ratios < ratios.mean()
    altered = torch.stack(heads)
    altered[removed] = 0
    mixed = (altered[:, None] @ seen.values[layer][:, : at + 1])[:, 0]
    stream = llama.out(mixed, layer)
    last = llama.depth - 1
    if layer != last:
        stream = llama.norm(stream, f"layers.{last}.input_layernorm.weight")
        stream = stream + 0.2 * seen.hidden[last][at]
        inner = llama.norm(stream, f"layers.{last}.post_attention_layernorm.weight")
        stream = stream + llama.mlp(inner, last)
    stream = llama.final_norm(stream) + 0.5 * seen.hidden[-1][at]
    base, branch = llama.logits(seen.hidden[-1][at]), llama.logits(stream)
    distance = float((base.softmax(-1) - branch.softmax(-1)).abs().sum())
    together = distance < gamma
    scores = base + alpha_pos * branch if together else (1 + alpha_neg) * base - alpha_neg * branch
    scores[~kept(base, beta)] = -math.inf
    facts |= {"tvd": distance, "collaborative": together, "removed_heads": removed.tolist()}
    return scores, {**facts, "base": base, "branch": branch}


def revisit(
    llama: Llama,
    seen: Pass,
    at: int,
    image: tuple[int, int],
    layers: Sequence[int],
    *,
    beta: float = 1e-5,
    measure: Any = reversed_divergence,
) -> Decision:
    """Multiply with what the nearest image position says of the plausible tokens."""
    base = llama.logits(seen.hidden[-1][at])
    shown = torch.cat([llama.logits(seen.hidden[layer][image[0] : image[1]]) for layer in layers])
    among = kept(base, beta)
    p, q = base[among].log_softmax(-1), shown[:, among].log_softmax(-1)
    distances = measure(p, q)
    chosen = int(distances.argmin())
    scores = torch.full_like(base, -math.inf)
    scores[among] = p + q[chosen]
    layer, token = divmod(chosen, image[1] - image[0])
    facts = {"layer": layers[layer], "vision_token": token, "js_divs": distances / len(p)}
    return scores, {**facts, "base": base, "branch": shown[chosen]}
