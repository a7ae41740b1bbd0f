"""A start for attention: two heads of the first layer find the patches that show a word.

Left to itself, a language model this small takes long to discover that it can compare a word with
what the patches show, because neither half of that skill pays without the other. Once the
projected patches lie near their words (`Trainee.word_loss`), the comparison is a dot product, so
two heads are set to it: their queries and keys are the directions in which the objects' words
differ. Gradient descent takes it from there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .network import Trainee

HEADS = (0, 1)
#: Positions turn the first dimensions of a head fast, and matching must not depend on distance.
SLOW = range(18, 31)
MATCH, MARGIN = 6.0, 1.5


@torch.no_grad()
def match_words(
    trainee: Trainee, pixels: Tensor, targets: Tensor, words: Tensor
) -> tuple[list[int], Tensor, Tensor]:
    """Computes the weights of the matching heads.

    Args:
        trainee: The model, in float32.
        pixels: A batch of pictures.
        targets: What their patches show.
        words: (categories, vocabulary) shares of each name's tokens.

    Returns:
        The rows of the first layer's query and key weights to replace, and their new values.
    """
    language = trainee.llava.model.language_model
    norm = language.layers[0].input_layernorm
    image = norm(trainee.llava.model.multi_modal_projector(trainee.see(pixels))).flatten(0, 1)
    category = targets[:, 0].flatten()
    tokens = (words > 0).any(0).nonzero().flatten()
    text = norm(language.embed_tokens(tokens))
    directions = torch.linalg.svd(text - text.mean(0))[2]
    size = language.layers[0].self_attn.head_dim
    slow = [*SLOW, *(i + size // 2 for i in SLOW)]

    first = words.argmax(1)[category[category > 0] - 1]
    shown, asked = image[category > 0], norm(language.embed_tokens(first))
    rows: list[int] = []
    queries, keys = [], []
    towards_image = image.mean(0) - text.mean(0)
    from_text = text.mean(0)
    for number, head in enumerate(HEADS):
        basis = directions[number : 2 * len(slow) : 2][: len(slow)]
        match = ((asked @ basis.T) * (shown @ basis.T)).sum(1).mean()
        other = ((asked @ basis.T) @ (shown @ basis.T).T).mean()
        scale = (MATCH * size**0.5 / (match - other)).sqrt()
        itself = (text @ basis.T).square().sum(1).mean() * scale**2 / size**0.5
        found = match * scale**2 / size**0.5
        weight = torch.zeros(size, directions.shape[1])
        weight[slow] = scale * basis
        query, key = weight.clone(), weight
        # One more dimension favours patches over text, so that a word's match in the picture
        # outweighs the word itself, and the word itself outweighs a picture without a match.
        favour = (itself - found + MARGIN).clamp(min=0.0)
        last = size // 2 - 1
        gap = (image @ towards_image).mean() - (text @ towards_image).mean()
        query[last] = from_text / from_text.square().sum()
        key[last] = towards_image * (favour * size**0.5 / gap)
        queries.append(query)
        keys.append(key)
        rows += range(head * size, (head + 1) * size)
        print(
            f"head {head}: match {found:.2f} other {other * scale**2 / size**0.5:.2f} "
            f"itself {itself:.2f} favour {favour:.2f} scale {scale:.2f}",
            flush=True,
        )
    return rows, torch.cat(queries), torch.cat(keys)
