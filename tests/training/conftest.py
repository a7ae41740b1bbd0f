"""`training` is not installed: tests find it beside the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = str(next(p for p in Path(__file__).parents if (p / "training" / "train.py").exists()))
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """Photographs that come with scikit-image and scikit-learn."""
    data = pytest.importorskip("skimage.data")
    datasets = pytest.importorskip("sklearn.datasets")
    names = ("astronaut", "camera", "chelsea", "coffee", "rocket", "brick", "grass", "gravel")
    found = []
    for name in names:
        path = Path(data.__file__).parent / f"{name}.png"
        if path.exists() or path.with_suffix(".jpg").exists():
            found.append(Image.fromarray(getattr(data, name)()).convert("RGB"))
    return found + [Image.fromarray(picture) for picture in datasets.load_sample_images().images]
