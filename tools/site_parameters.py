"""An extension of griffe: what `parameter` and `option` say of a field is its documentation.

A method's parameter (``alpha: float = parameter(1.0, "weight of the contrast", low=0)``) and a
benchmark's option are shown with their default, their meaning and their range.
"""

from __future__ import annotations

import ast
from typing import Any

import griffe

FIELDS = {"parameter", "option", "plausibility"}


class Parameters(griffe.Extension):
    """Reads the calls that stand where a field's default would."""

    def on_attribute_instance(
        self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **_: Any
    ) -> None:
        """Put the default in the place of the call, and its help in that of a docstring."""
        call = getattr(node, "value", None)
        if not isinstance(call, ast.Call) or ast.unparse(call.func) not in FIELDS:
            return
        if isinstance(attr.value, griffe.ExprCall) and call.args:
            attr.value = attr.value.arguments[0]
            if attr.docstring is None and len(call.args) > 1:
                attr.docstring = griffe.Docstring(_sentence(call), parent=attr)


def _sentence(call: ast.Call) -> str:
    """Such as "Weight of the contrast (from 0)."."""
    meaning = _text(call.args[1])
    named = {one.arg: ast.unparse(one.value) for one in call.keywords}
    bounds = [
        f"{word} {named[end]}" for end, word in (("low", "from"), ("high", "to")) if end in named
    ]
    choices = [f"one of {named['choices']}"] if "choices" in named else []
    more = ", ".join([" ".join(bounds), *choices] if bounds else choices)
    return f"{meaning[:1].upper()}{meaning[1:]}" + (f" ({more})." if more else ".")


def _text(node: ast.expr) -> str:
    """A string as it is written; what an f-string puts in is named."""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"`{ast.unparse(part.value)}`" if isinstance(part, ast.FormattedValue) else _text(part)
            for part in node.values
        )
    return str(ast.literal_eval(node))
