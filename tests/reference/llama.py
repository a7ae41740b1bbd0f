"""LLaVA's language model by hand: one sequence, no cache, plain matrix products in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Pass:
    """What one full pass over a sequence leaves.

    Attributes:
        hidden: The stack's list: embeddings, then every layer's output, the last one normed; each
            (positions, hidden).
        attention: For every layer (heads, positions, positions), rows sum to one.
        values: For every layer (heads, positions, head size).
    """

    hidden: list[Tensor]
    attention: list[Tensor]
    values: list[Tensor]


class Llama:
    """The decoder of a LLaVA checkpoint, its formulas written out.

    Args:
        model: A ``LlavaForConditionalGeneration`` with a Llama in it, float32, on the CPU.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        config = model.config.text_config
        self.depth = config.num_hidden_layers
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.epsilon = config.rms_norm_eps
        self.theta = config.rope_parameters["rope_theta"]
        self.weights = {
            name.removeprefix("model.language_model."): value.detach()
            for name, value in model.named_parameters()
        }
        self.head = model.lm_head.weight.detach()

    @torch.no_grad()
    def embed(self, ids: Sequence[int], pixels: Tensor | None = None) -> Tensor:
        """Embeddings of ids; image features in the place of the image token of the prompt."""
        tokens = torch.tensor(ids)
        embeddings = self.weights["embed_tokens.weight"][tokens].clone()
        if pixels is not None:
            found = self.model.model.get_image_features(pixel_values=pixels).pooler_output
            features = torch.cat(list(found))
            slots = (tokens == self.model.config.image_token_id).nonzero()[: len(features), 0]
            embeddings[slots] = features
        return embeddings

    def norm(self, x: Tensor, name: str) -> Tensor:
        """RMSNorm."""
        root = torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return x / root * self.weights[name]

    def mlp(self, x: Tensor, layer: int) -> Tensor:
        """SwiGLU."""
        gate, up, down = (
            self.weights[f"layers.{layer}.mlp.{kind}_proj.weight"]
            for kind in ("gate", "up", "down")
        )
        return (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T

    def out(self, mixed: Tensor, layer: int) -> Tensor:
        """The attention's output projection of (positions, heads, head size)."""
        return mixed.flatten(-2) @ self.weights[f"layers.{layer}.self_attn.o_proj.weight"].T

    def _rotated(self, x: Tensor) -> Tensor:
        """Rotary positions, counted from 0, on (heads, positions, head size)."""
        size = x.shape[-1]
        rates = self.theta ** (-torch.arange(0, size, 2).float() / size)
        angles = torch.arange(x.shape[1]).float()[:, None] * rates
        first, second = x[..., : size // 2], x[..., size // 2 :]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    def _attend(self, x: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        length = len(x)

        def heads(kind: str, count: int) -> Tensor:
            projected = x @ self.weights[f"layers.{layer}.self_attn.{kind}_proj.weight"].T
            return projected.view(length, count, -1).transpose(0, 1)

        query = self._rotated(heads("q", self.heads))
        times = self.heads // self.groups
        key = self._rotated(heads("k", self.groups)).repeat_interleave(times, dim=0)
        value = heads("v", self.groups).repeat_interleave(times, dim=0)
        scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
        scores = self.edited(scores, layer).masked_fill(hidden, -math.inf)
        return scores.softmax(dim=-1), value

    def edited(self, scores: Tensor, layer: int) -> Tensor:
        """Attention scores, (heads, queries, keys), before the mask; for edits to override."""
        return scores

    def steered(self, x: Tensor, layer: int) -> Tensor:
        """A feed-forward part's output; for edits to override."""
        return x

    @torch.no_grad()
    def run(self, embeddings: Tensor) -> Pass:
        """One full pass; what holds at a position depends on those up to it alone."""
        x = embeddings
        found = Pass([x], [], [])
        for layer in range(self.depth):
            weights, values = self._attend(
                self.norm(x, f"layers.{layer}.input_layernorm.weight"), layer
            )
            found.attention.append(weights)
            found.values.append(values)
            x = x + self.out((weights @ values).transpose(0, 1), layer)
            inner = self.norm(x, f"layers.{layer}.post_attention_layernorm.weight")
            x = x + self.steered(self.mlp(inner, layer), layer)
            found.hidden.append(x)
        found.hidden[-1] = self.final_norm(x)
        return found

    def final_norm(self, x: Tensor) -> Tensor:
        """The norm before the head."""
        return self.norm(x, "norm.weight")

    def logits(self, hidden: Tensor) -> Tensor:
        """The head."""
        return hidden @ self.head.T
