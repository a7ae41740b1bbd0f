"""Scores that are no numbers: found at once, and traced to the layer where they begin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from secondsight.decoding.rows import Pool, Row
from secondsight.errors import UserError


def unsound(pool: Pool, rows: Sequence[Row], logits: torch.Tensor) -> dict[int, UserError]:
    """Find rows whose logits are NaN or infinite, and make theirs zero.

    Logits of minus infinity are a model's way to rule tokens out, unless all of them are.

    Args:
        pool: The rows' pool, which reads their last token once more to find the layer.
        rows: The rows.
        logits: Their logits, float32 of shape (rows, vocabulary); changed in place.

    Returns:
        By place, what is wrong.
    """
    sound = logits.amax(dim=-1).isfinite()
    if bool(sound.all()):
        return {}
    found = {}
    for place in (~sound).nonzero()[:, 0].tolist():
        what = "not numbers (NaN)" if bool(logits[place].isnan().any()) else "infinite"
        where = _beginning(pool, rows[place])
        found[place] = UserError(
            f"The model's scores are {what}; {where}. A half-precision model that overflows is "
            "sound in bfloat16 or float32: load it with another dtype."
        )
        logits[place] = 0
    return found


def _beginning(pool: Pool, row: Row) -> str:
    """Where, in a pass over the row's last token, numbers stop being finite."""
    layers = _layers(pool.model)
    broken: list[int] = []
    entered: list[bool] = []

    def after(number: int) -> object:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            if isinstance(hidden, torch.Tensor) and not bool(hidden.isfinite().all()):
                broken.append(number)

        return look

    def before(module: nn.Module, inputs: tuple[object, ...]) -> None:
        hidden = inputs[0] if inputs else None
        if isinstance(hidden, torch.Tensor):
            entered.append(bool(hidden.isfinite().all()))

    hooks = [layer.register_forward_hook(after(n)) for n, layer in enumerate(layers)]  # type: ignore[arg-type]
    hooks += [layer.register_forward_pre_hook(before) for layer in layers[:1]]
    try:
        pool.read([row])
    finally:
        for hook in hooks:
            hook.remove()
    if entered and not entered[0]:
        return "they are so before the first layer, in the token's embedding"
    if broken:
        return f"they begin in layer {broken[0]} of {len(layers)} of the language model"
    return f"all {len(layers)} layers are sound, so they begin in the head that follows"


def _layers(model: nn.Module) -> Sequence[nn.Module]:
    decoder = model.get_decoder()  # type: ignore[operator]
    layers = getattr(decoder, "layers", None)
    return list(layers) if isinstance(layers, nn.ModuleList) else []
