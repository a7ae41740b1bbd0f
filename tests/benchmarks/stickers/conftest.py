"""`training` is not installed: tests find it beside the package."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(next(p for p in Path(__file__).parents if (p / "training" / "train.py").exists()))
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
