"""What benchmarks declare of StickerScenes, kept apart from the drawing of them."""

from __future__ import annotations

from typing import Final

DATASET: Final = "stickers"
SPLITS: Final = ("test", "conflict", "hard", "val")
USUAL: Final = 100
"""Images without a limit: enough to see the method work, within minutes on two cores."""
