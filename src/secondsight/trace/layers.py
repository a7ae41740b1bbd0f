"""Which layers a report shows one by one, from text."""

from __future__ import annotations

from collections.abc import Collection

from secondsight.errors import UserError


def parse_layers(layers: str | Collection[int], count: int) -> frozenset[int]:
    """Layer numbers from text such as ``0,4-7`` or ``all``.

    Raises:
        UserError: Not of that form, or a layer that the model does not have.
    """
    if not isinstance(layers, str):
        numbers = frozenset(layers)
    elif layers.strip() == "all":
        numbers = frozenset(range(count))
    else:
        numbers = frozenset(
            number
            for group in layers.split(",")
            if group.strip()
            for number in _span(group.strip(), layers)
        )
    unknown = sorted(number for number in numbers if not 0 <= number < count)
    if unknown:
        raise UserError(f"The model has no layer {unknown[0]}: its layers are 0 to {count - 1}.")
    return numbers


def _span(group: str, text: str) -> range:
    first, dash, last = group.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UserError(f"layers must be 'all' or numbers such as '0,4-7', not {text!r}.")
    return range(int(first), int(last if dash else first) + 1)
