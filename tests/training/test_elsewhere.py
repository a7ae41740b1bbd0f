"""The shipped model on pictures that our generator did not draw."""

from __future__ import annotations

from random import Random

import pytest
import torch
from PIL import Image
from training.evaluate import DESCRIBE, Model, named, yes_no_scores
from training.tokenizer import BUNDLED

from secondsight.benchmarks.stickers.art import load_icon
from secondsight.benchmarks.stickers.catalog import CATEGORIES, with_article

SIZES = ((640, 480), (512, 512), (300, 420), (800, 450))


def paste(rng: Random, backgrounds: list[Image.Image]) -> tuple[Image.Image, set[str]]:
    """One to five stickers of unlike kinds, side by side; and the names of those."""
    width, height = rng.choice(SIZES)
    picture = rng.choice(backgrounds).resize((width, height))
    boxes: list[tuple[int, int, int]] = []
    names: set[str] = set()
    for category in rng.sample(CATEGORIES, rng.randint(1, 5)):
        for _ in range(60):
            side = int(min(width, height) * rng.uniform(0.2, 0.4))
            x, y = rng.randint(0, width - side), rng.randint(0, height - side)
            if all(x + side < a or a + s < x or y + side < b or b + s < y for a, b, s in boxes):
                icon = load_icon(rng.choice(category.icons).code).convert("RGBA")
                icon.thumbnail((side, side))
                picture.paste(icon, (x, y), icon)
                boxes.append((x, y, side))
                names.add(category.name)
                break
    return picture, names


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one colour", "photographs"])
def test_another_generators_scenes(kind: str, photographs: list[Image.Image]) -> None:
    """Yes/no at least 0.85 and recall at least 0.75, as the project asks for."""
    torch.manual_seed(0)
    rng = Random(5)
    plain = [
        Image.new("RGB", (8, 8), tuple(rng.randrange(256) for _ in range(3))) for _ in range(40)
    ]
    backgrounds = plain if kind == "one colour" else photographs
    scenes = [paste(rng, backgrounds) for _ in range(60)]
    model = Model(BUNDLED)
    pixels = [model.pixels(picture) for picture, _ in scenes]
    asked = []
    for number, (_, present) in enumerate(scenes):
        others = [c.name for c in CATEGORIES if c.name not in present]
        for label, names in (("yes", sorted(present)), ("no", rng.sample(others, len(present)))):
            asked += [(number, f"Is there {with_article(n)} in the image?", label) for n in names]
    answers = model.ask([pixels[i] for i, _, _ in asked], [q for _, q, _ in asked], 1, 48)
    assert yes_no_scores(answers, [label for *_, label in asked])["accuracy"] >= 0.85
    texts = model.ask(pixels, [DESCRIBE] * len(scenes), 120, 30)
    found = sum(len(named(t) & truth) for t, (_, truth) in zip(texts, scenes, strict=True))
    assert found >= 0.75 * sum(len(truth) for _, truth in scenes)
