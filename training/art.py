"""Stage 1: cut the needed stickers out of the npm package and store them small.

Usage:
    npm pack @lobehub/fluent-emoji-3d && tar xzf lobehub-fluent-emoji-3d-*.tgz
    python -m training.art package/assets
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from secondsight.benchmarks.stickers.catalog import ICONS

TARGET = Path(__file__).parents[1] / "src/secondsight/profilingmarks/stickers/art"
LONG_SIDE = 128


def convert(assets: Path, target: Path = TARGET) -> int:
    """Trims and shrinks every icon of the catalogue into `target`; returns the bytes written."""
    target.mkdir(parents=True, exist_ok=True)
    total = 0
    for code in ICONS:
        candidates = [assets / f"{code}{suffix}.webp" for suffix in ("", "-fe0f")]
        source = next((path for path in candidates if path.exists()), None)
        if source is None:
            raise FileNotFoundError(f"no sticker {code} in {assets}")
        picture = Image.open(source).convert("RGBA")
        picture = picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())
        picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
        path = target / f"{code}.webp"
        picture.save(path, quality=88, alpha_quality=90, method=6)
        total += path.stat().st_size
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("assets", type=Path, help="the assets folder of the unpacked npm package")
    print(f"{convert(parser.parse_args().assets)} bytes in {TARGET}")
