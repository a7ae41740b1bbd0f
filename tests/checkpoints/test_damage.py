"""Damaged settings of a checkpoint: one line, whichever library trips over them.

``tests/fuzz/checkpoints.py`` tries every field with every odd value; these are some of each kind.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import secondsight
from secondsight import CheckpointError

CONFIG, PIXELS, TOKENS = "config.json", "preprocessor_config.json", "tokenizer.json"
DAMAGES: list[tuple[str, str, Any]] = [
    (CONFIG, "image_seq_length", True),
    (CONFIG, "text_config.initializer_range", {"a": 1}),
    (CONFIG, "text_config.intermediate_size", -1),
    (CONFIG, "text_config.max_position_embeddings", None),
    (CONFIG, "text_config.num_attention_heads", 0),
    (CONFIG, "text_config.num_key_value_heads", 10**40),
    (CONFIG, "text_config.num_hidden_layers", 10**9),
    (CONFIG, "text_config.vocab_size", "many"),
    (CONFIG, "vision_config.image_size", 10**40),
    (CONFIG, "vision_config", []),
    (CONFIG, "vision_feature_layer", 10**40),
    (PIXELS, "crop_size.width", 1.5),
    (PIXELS, "image_mean", True),
    (PIXELS, "size", "large"),
    (TOKENS, "model.vocab", -1),
    (TOKENS, "model.merges", {"a": 1}),
]


@pytest.mark.parametrize(("file", "field", "value"), DAMAGES)
def test_it_is_refused_in_a_line(
    tiny_llava: Path, tmp_path: Path, file: str, field: str, value: Any
) -> None:
    copy = shutil.copytree(tiny_llava, tmp_path / "copy")
    content = json.loads((copy / file).read_text())
    inner = content
    *path, last = field.split(".")
    for key in path:
        inner = inner[key]
    assert inner[last] != value
    inner[last] = value
    (copy / file).write_text(json.dumps(content))
    with pytest.raises(CheckpointError) as caught:
        secondsight.load(copy).answer(Image.new("RGB", (40, 30)), "Is it?", max_new_tokens=2)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
