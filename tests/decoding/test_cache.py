"""What a forward pass over one token is given, apart from the token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image

import secondsight
from secondsight.decoding.cache import SlotCache
from secondsight.decoding.transformers5 import masks_pay


@pytest.mark.parametrize("checkpoint", ["tiny_llava", "tiny_llava_mha"])
def test_heads_that_share_keys_are_given_a_mask_that_hides_nothing(
    checkpoint: str, request: pytest.FixtureRequest, make_image: Callable[..., Image.Image]
) -> None:
    """And the others are not; either way the tokens are those of transformers."""
    folder: Path = request.getfixturevalue(checkpoint)
    model = secondsight.load(folder, device="cpu")
    text = model.hf_model.config.text_config
    shared = text.num_key_value_heads < text.num_attention_heads
    shared = shared and Version(transformers.__version__) >= Version("5.23")
    assert masks_pay(text, torch.device("cpu")) == shared
    assert not masks_pay(text, torch.device("cuda"))

    given: list[Any] = []
    model.hf_model.register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs.get("attention_mask")), with_kwargs=True
    )
    inputs = model.encode(make_image(1), "Is there a dog in the image?")
    options = {"max_new_tokens": 6, "do_sample": False}
    ours = model.hf_model.generate(**inputs, **options, custom_generate=secondsight.decode)
    later = given[1:]
    assert later
    for mask in later:
        assert (mask is not None) == shared
        assert mask is None or (mask.dtype == torch.bool and bool(mask.all()))
    assert ours.tolist() == model.hf_model.generate(**inputs, **options).tolist()


def test_slots_that_nobody_wrote_take_no_memory(tiny_llava: Path) -> None:
    model = secondsight.load(tiny_llava, device="cpu")
    text = model.hf_model.config.text_config
    cache = SlotCache(text, 1000, 10_000)
    cache.window.__dict__.update(rows=slice(0, 1), offset=0, stop=1)
    heads, size = text.num_key_value_heads, text.head_dim
    torch.ones(2**20)  # so that there is something to reuse
    before = psutil.Process().memory_info().rss
    seen, _ = cache.layers[0].update(torch.ones(1, heads, 1, size), torch.ones(1, heads, 1, size))
    taken = psutil.Process().memory_info().rss - before
    assert seen.sum() == heads * size
    assert cache.nbytes == 2 * 1000 * 10_000 * heads * size * 4
    assert taken < cache.nbytes / 20
    assert not cache.layers[0].keys[1:, :, :2].any()
