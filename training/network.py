"""The bundled model's shape, and the forward pass that training uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AttentionInterface,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from secondsight.benchmarks.stickers.catalog import CATEGORIES, COLOURS

from .data import MEAN, STD
from .targets import FINE, IGNORE, Shape
from .tokenizer import IMAGE_ID, PAD_ID, VOCABULARY


def configuration(shape: Shape) -> LlavaConfig:
    """The configuration: a LLaVA-1.5 in miniature.

    The vision tower has one layer more than is used, because LLaVA reads the second-last one.
    """
    vision = CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=7,
        num_attention_heads=3,
        image_size=shape.image,
        patch_size=shape.patch,
        projection_dim=192,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=PAD_ID,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE_ID,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=shape.patches,
        tie_word_embeddings=True,
    )


#: The layer behind which an object that a question names must be found or missed.
HALF_WAY = 2
#: Strength of the code for a patch's place, at the start.
PLACE = 8.0


class Trainee(nn.Module):
    """The model with the heads that exist in training only: what each patch shows.

    Args:
        shape: Sizes of the inputs.
        start: Tokens before the image.
    """

    def __init__(self, shape: Shape, start: int) -> None:
        super().__init__()
        self.shape = shape
        self.start = start
        self.llava = LlavaForConditionalGeneration(configuration(shape))
        self.llava.model.language_model.config._attn_implementation = PACKED
        width = self.llava.config.vision_config.hidden_size
        tower = self.llava.model.vision_tower
        tower.config._attn_implementation = "eager"  # on a CPU, the fused kernel's way back is slow
        embeddings = getattr(tower, "vision_model", tower).embeddings
        with torch.no_grad():
            embeddings.position_embedding.weight[1:] += PLACE * place_code(shape.side, width)
        self.heads = nn.Linear(width, len(CATEGORIES) + 1 + len(COLOURS) + 1 + 2)  # 2: the centre
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def see(self, pixels: Tensor) -> Tensor:
        """Features of the second-last layer, without the class token: (batch, patches, width)."""
        tower = self.llava.model.vision_tower
        tower = getattr(tower, "vision_model", tower)
        x = (pixels.float() - self.mean.float()) / self.std.float()
        x = tower.pre_layrnorm(tower.embeddings(x.to(self.heads.weight.dtype)))
        for layer in tower.encoder.layers[:-1]:
            x = layer(x, None)
            x = x[0] if isinstance(x, tuple) else x
        return x[:, 1:]

    def patch_loss(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the patch heads, and their accuracy on patches that show an object."""
        n, k = len(CATEGORIES) + 1, len(COLOURS) + 1
        logits = self.heads(features).float()
        category, colour = targets[:, :2].unbind(1)
        weight = torch.ones(n)
        weight[0] = 0.3  # most patches are background
        loss = F.cross_entropy(logits[..., :n].flatten(0, 1), category.flatten(), weight)
        loss = loss + 0.5 * F.cross_entropy(
            logits[..., n : n + k].flatten(0, 1), colour.flatten(), ignore_index=IGNORE
        )
        # Patches of one object agree on its centre: that tells two of a kind from one.
        shown = category > 0
        centre = targets[:, 5:].transpose(1, 2)[shown] / FINE
        loss = loss + 4.0 * F.smooth_l1_loss(logits[..., n + k :][shown], centre, beta=0.05)
        right = (logits[..., :n].argmax(-1) == category) & shown
        return loss, right.sum() / shown.sum().clamp(min=1)

    def read(
        self, features: Tensor, ids: Tensor, positions: Tensor, block: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hidden states at the end and half way: (batch, length, width) each."""
        model = self.llava.model
        embeds = model.language_model.embed_tokens(ids)
        image = model.multi_modal_projector(features)
        start = self.start
        embeds = torch.cat([embeds[:, :start], image, embeds[:, start + image.shape[1] :]], dim=1)
        seen = visible(block)
        mask = torch.zeros_like(seen, dtype=embeds.dtype).masked_fill(~seen, float("-inf"))
        x = embeds
        rotary = model.language_model.rotary_emb(x, positions)
        half = x
        prompt = start + image.shape[1]
        for number, layer in enumerate(model.language_model.layers):
            x = layer(x, attention_mask=mask, position_embeddings=rotary, prompt_length=prompt)
            x = x[0] if isinstance(x, tuple) else x
            if number == HALF_WAY:
                half = model.language_model.norm(x)
        return model.language_model.norm(x), half

    def told_loss(
        self, hidden: Tensor, targets: Sequence[Tensor], words: Sequence[Tensor]
    ) -> Tensor:
        """How well hidden states tell facts, read off by the output head; summed over the facts.

        Args:
            hidden: (..., width).
            targets: For each fact, which of its words is true: (...), -100 where unknown.
            words: For each fact, the ids of its words, such as "left", "middle" and "right".
        """
        total = hidden.new_zeros((), dtype=torch.float32)
        for target, tokens in zip(targets, words, strict=True):
            known = target != IGNORE
            if known.any():
                logits = (hidden[known] @ self.llava.lm_head.weight[tokens].T).float()
                total = total + F.cross_entropy(logits, target[known])
        return total

    def word_loss(
        self, features: Tensor, targets: Tensor, words: Tensor, facts: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """How far the projected patches are from the words for what they show.

        Read off by the model's own output head, so that a patch of a dog comes to lie near the
        word "dog", where attention finds it. `words` is (categories, vocabulary), each row the
        shares of a name's tokens. The second loss is that of what is told of a patch's object: its
        column, its line, and how many of its kind there are.
        """
        category = targets[:, 0]
        shown = category > 0
        projected = self.llava.model.multi_modal_projector(features[shown])
        hidden = self.llava.model.language_model.norm(projected)
        word = F.cross_entropy(self.llava.lm_head(hidden).float(), words[category[shown] - 1])
        known = targets[:, 2:5].transpose(0, 1)[:, shown]
        return word, self.told_loss(hidden, known.unbind(), facts)

    def asked_loss(self, half: Tensor, asked: Tensor, decisive: Tensor) -> tuple[Tensor, Tensor]:
        """Half way through, where a question names an object, it must be known whether it is there.

        Read off by the output head as "Yes" or "No"; returns the loss and the accuracy.
        """
        asked = asked[:, 0]
        wanted = asked != IGNORE
        logits = (half[wanted] @ self.llava.lm_head.weight[decisive].T).float()
        target = 1 - asked[wanted]  # decisive is (yes, no)
        return F.cross_entropy(logits, target), (logits.argmax(-1) == target).float().mean()

    def next_loss(
        self, half: Tensor, told: Tensor, words: Tensor, numbers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Half way through, an answer must know what it names next, and how many there are of it.

        Args:
            half: (batch, length, width).
            told: What `Packer.told` marks: (batch, 2, length).
            words: (categories + 1, vocabulary): shares of each name's tokens, and of the full stop.
            numbers: Ids of the words for 1, 2, ...

        Returns:
            The loss, and how often the category is right.
        """
        following, count = told.unbind(1)
        wanted = following != IGNORE
        hidden = half[wanted]
        logits = (hidden @ (words.to(hidden.dtype) @ self.llava.lm_head.weight).T).float()
        loss = F.cross_entropy(logits, following[wanted])
        right = (logits.argmax(-1) == following[wanted]).float().mean()
        return loss + 0.5 * self.told_loss(half, [count], [numbers]), right

    def text_loss(
        self, hidden: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted mean loss over the answers' tokens, with their predictions and targets."""
        target = labels[:, 1:]
        wanted = target != IGNORE
        logits = self.llava.lm_head(hidden[:, :-1][wanted]).float()
        target, weight = target[wanted], weights[:, 1:][wanted]
        loss = F.cross_entropy(logits, target, reduction="none")
        return (loss * weight).sum() / weight.sum(), logits.argmax(-1), target


def place_code(side: int, width: int) -> Tensor:
    """A code for where a patch is: (patches, width), column and line along two directions.

    What a patch shows can be told without knowing where it is, so the tower would not keep its
    place by itself, and nothing later could tell left from right.
    """
    generator = torch.Generator().manual_seed(7)
    basis = torch.randn(2, width, generator=generator)
    basis = torch.linalg.qr((basis - basis.mean(1, keepdim=True)).T)[0].T
    line, column = torch.meshgrid(
        torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij"
    )
    return torch.stack([column.flatten(), line.flatten()], 1) @ basis


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    prompt_length: int,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention over a packed sequence, as plain products: on a CPU faster than the fused kernels.

    The prompt and the picture, which see nothing behind them, are spared the conversations.
    """
    query = query * scaling
    outputs = []
    for rows, columns in (
        (slice(0, prompt_length), slice(0, prompt_length)),
        (slice(prompt_length, None), slice(None)),
    ):
        scores = query[:, :, rows] @ key[:, :, columns].transpose(2, 3)
        weights = (scores + attention_mask[:, :, rows, columns]).softmax(dim=-1)
        outputs.append(weights @ value[:, :, columns])
    return torch.cat(outputs, dim=2).transpose(1, 2), None


#: The name of `packed_attention` among transformers' attention functions.
PACKED = "packed_conversations"
AttentionInterface.register(PACKED, packed_attention)


def visible(block: Tensor) -> Tensor:
    """Which tokens each token may see: (batch, 1, length, length) bool."""
    length = block.shape[1]
    own, other = block[:, :, None], block[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=block.device).tril()
    seen = (own == other) | (other == 0) | ((other == 1) & (own > 1))
    return (seen & causal)[:, None]
