"""One recorded run that the tests of the report share, and LLaVA-1.5's own shape in miniature."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import secondsight
from secondsight.trace import Trace


@pytest.fixture(scope="session")
def photograph() -> Image.Image:
    """An image in landscape."""
    image = Image.new("RGB", (96, 64), (120, 160, 220))
    pen = ImageDraw.Draw(image)
    pen.rectangle((10, 30, 40, 60), fill=(200, 30, 30))
    pen.ellipse((55, 10, 85, 40), fill=(240, 220, 60))
    return image


@pytest.fixture(scope="session")
def trace(model: secondsight.Model, photograph: Image.Image) -> Trace:
    """RITUAL's record on the tiny model, with rollout."""
    return model.trace(
        photograph,
        "Is there a <script>alert(1)</script> dog?",
        "ritual:transform=hflip",
        max_new_tokens=12,
        rollout=True,
    )


@pytest.fixture
def report(trace: Trace, tmp_path: Path) -> Path:
    """The record as an HTML file."""
    path = tmp_path / "report.html"
    path.write_text(trace.to_html(), encoding="utf-8")
    return path
