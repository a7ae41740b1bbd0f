"""Layers as text."""

from __future__ import annotations

import pytest

from secondsight.errors import MethodError
from secondsight.methods.layers import check_layers, layers_from

WORDS = {"low": (0, 2, 4), "none": ()}


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("low", (0, 2, 4)),
        ("6", (6,)),
        ("8-10", (8, 9, 10)),
        ("0/2/4", (0, 2, 4)),
        ("4/0", (4, 0)),
        ("1/3-5/4", (1, 3, 4, 5)),
    ],
)
def test_what_text_names(text: str, layers: tuple[int, ...]) -> None:
    check_layers("dola", text, list(WORDS))
    assert layers_from("dola", text, WORDS, high=11) == layers


@pytest.mark.parametrize("text", ["", "lo", "1.5", "-3", "3-", "1//2", "a/b", "1 2"])
def test_other_text_is_refused_before_a_model_is_there(text: str) -> None:
    with pytest.raises(MethodError, match="dola: layers must be low, none, a number"):
        check_layers("dola", text, list(WORDS))


@pytest.mark.parametrize(("text", "low", "wrong"), [("12", 0, 12), ("10-13", 0, 12), ("0/2", 1, 0)])
def test_layers_outside_the_model(text: str, low: int, wrong: int) -> None:
    with pytest.raises(MethodError, match=rf"layer {wrong}; .* from {low} to 11"):
        layers_from("dola", text, WORDS, low=low, high=11)


@pytest.mark.parametrize("text", ["none", "5-3"])
def test_no_layer_at_all(text: str) -> None:
    with pytest.raises(MethodError, match="no layer"):
        layers_from("dola", text, WORDS, high=11)
