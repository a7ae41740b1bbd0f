"""Layers as text: ``low``, ``high``, ``all``, ``6``, ``8-10`` (both ends), ``0/2/4``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from secondsight.errors import MethodError, nearest


def check_layers(method: str, text: str, words: Sequence[str]) -> None:
    """See that text names layers, before a model says how many there are.

    Args:
        method: The method's name, for the error.
        text: The text.
        words: The words that the method knows.

    Raises:
        MethodError: It does not.
    """
    if text not in words:
        _numbers(method, text, words)


def layers_from(
    method: str, text: str, words: Mapping[str, Sequence[int]], *, low: int = 0, high: int
) -> tuple[int, ...]:
    """The layers that text names.

    Args:
        method: The method's name, for the error.
        text: A word, a number, a range with both ends, or several of these behind slashes.
        words: What the method's words mean in this model.
        low: The lowest layer that there is.
        high: The highest.

    Returns:
        The layers, in the order in which they are named.

    Raises:
        MethodError: The text is something else, or names a layer that there is not.
    """
    named = tuple(words[text]) if text in words else _numbers(method, text, list(words))
    for layer in named:
        if not low <= layer <= high:
            raise MethodError(
                f"{method}: layers={text} names layer {layer}; in this model it takes those from "
                f"{low} to {high}."
            )
    if not named:
        raise MethodError(f"{method}: layers={text} names no layer of this model.")
    return named


def _numbers(method: str, text: str, words: Sequence[str]) -> tuple[int, ...]:
    found: list[int] = []
    for part in text.split("/"):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise MethodError(
                f"{method}: layers must be {', '.join(words)}, a number, a range such as 8-10, or "
                f"a list such as 0/2/4; not {text!r}.{nearest(text, words)}"
            )
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))


def even_layers(depth: int, *, tied: bool) -> list[int]:
    """The even layers below the last, from the embeddings on.

    Args:
        depth: How many layers there are; counted as hidden states, the last is `depth`.
        tied: Whether the head's weights are the embeddings; layer 0 would then say its input.
    """
    return list(range(2 if tied else 0, depth, 2))
