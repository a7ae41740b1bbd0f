"""Where the image is in a prompt."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secondsight.layout import PromptLayout, prompt_layout


@given(st.lists(st.sampled_from([7, 9]), max_size=30))
def test_every_position_is_image_or_text(ids: list[int]) -> None:
    layout = prompt_layout(torch.tensor([ids], dtype=torch.long), 9)
    image = [place for place, token in enumerate(ids) if token == 9]
    assert layout.image_positions.tolist() == image
    assert layout.text_positions.tolist() == [p for p in range(len(ids)) if p not in image]
    assert layout.image_tokens == len(image)
    assert layout.length == len(ids)
    assert layout.end == len(ids) - 1
    assert layout.image_end == max(image, default=-1) + 1
    assert all(a.stop < b.start for a, b in zip(layout.image, layout.image[1:], strict=False))


def test_runs() -> None:
    layout = prompt_layout(torch.tensor([1, 9, 9, 4, 9, 5]), 9)
    assert layout == PromptLayout(6, (range(1, 3), range(4, 5)))
    assert layout.text == (range(0, 1), range(3, 4), range(5, 6))
    assert hash(layout) == hash(PromptLayout(6, (range(1, 3), range(4, 5))))


def test_a_model_without_an_image_token_sees_text_only() -> None:
    assert prompt_layout(torch.tensor([1, 9, 9]), None) == PromptLayout(3)


@pytest.mark.parametrize(
    "image",
    [(range(2, 2),), (range(3, 9),), (range(0, 3), range(2, 4)), (range(0, 4, 2),)],
)
def test_runs_outside_the_prompt_or_out_of_order_are_refused(image: tuple[range, ...]) -> None:
    with pytest.raises(ValueError, match="no runs within"):
        PromptLayout(8, image)
