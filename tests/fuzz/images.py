"""Damaged images in 23 formats: each is opened, or refused in a line, quickly and in little memory.

    python tests/fuzz/images.py --seconds 600

Truncated, bits flipped, pieces overwritten, doubled or left out; from files, bytes, file objects,
data URLs and a server on this machine.
"""

from __future__ import annotations

import base64
import io
import logging
import random
import resource
import sys
import tempfile
import threading
import time
import warnings
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from PIL import Image
from tally import ACCEPTED, GOOD, REFUSED, SLOW, WRONG, Outcome, one_line, run, written_to_stderr

from secondsight.errors import ImageError
from secondsight.images import open_image

FORMATS = (
    "AVIF", "BLP", "BMP", "DDS", "DIB", "EPS", "GIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000",
    "MPO", "MSP", "PCX", "PDF", "PNG", "PPM", "QOI", "SGI", "SPIDER", "TGA", "TIFF", "WEBP", "XBM",
)  # fmt: skip
NEVER = ("EPS", "PDF")
WAYS = ("file", "bytes", "file object", "data URL", "server")
SLOWEST = 5.0
MOST_MEMORY = 300 * 2**20


@cache
def originals() -> dict[str, list[bytes]]:
    """Some files of each format, small and of different modes."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (37, 53, 3), dtype=np.uint8))
    smooth = noise.resize((61, 47), Image.Resampling.BICUBIC)
    files: dict[str, list[bytes]] = {}
    for kind in FORMATS:
        made = []
        for image in (noise, smooth):
            modes = ("RGB", "L", "1", "P", "RGBA", "CMYK", "I;16", "F")
            for mode in modes if kind != "AVIF" else ("RGB", "L", "RGBA"):  # Pillow may crash
                for options in (
                    {},
                    {"progressive": True},
                    {"compression": "tiff_lzw"},
                    {"compression": "jpeg"},
                    {"save_all": True},
                ):
                    if (
                        options
                        and kind
                        not in {
                            "progressive": ("JPEG",),
                            "compression": ("TIFF",),
                            "save_all": ("GIF", "WEBP", "PNG", "AVIF", "MPO"),
                        }[next(iter(options))]
                    ):
                        continue
                    buffer = io.BytesIO()
                    try:
                        converted = (
                            image.quantize(16)
                            if mode == "P"
                            else image.convert("L").convert("I").convert(mode)
                            if mode == "I;16"
                            else image.convert(mode)
                        )
                        if "save_all" in options:
                            options = {**options, "append_images": [converted.rotate(90)]}
                        exif = Image.Exif()
                        exif[0x0112] = 6
                        if kind in ("JPEG", "PNG", "WEBP", "TIFF"):
                            options = {**options, "exif": exif}
                        converted.save(buffer, kind, **options)
                        made.append(buffer.getvalue())
                    except (OSError, ValueError, TypeError, AttributeError, KeyError):
                        continue  # the format has no such mode
        files[kind] = made
        assert made, kind
    return files


def damage(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """One way to break a file."""
    kind = rng.choice(
        ["truncated", "bits", "bits", "bits", "overwritten", "left out", "doubled", "header"]
    )
    if kind == "truncated":
        return kind, data[: rng.randrange(len(data))]
    broken = bytearray(data)
    if kind in ("bits", "header"):
        reach = len(broken) if kind == "bits" else min(len(broken), 64)
        for _ in range(rng.choice([1, 1, 2, 4, 8, 16])):
            broken[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        return kind, bytes(broken)
    start = rng.randrange(len(broken))
    size = rng.choice([1, 2, 4, 16, 64])
    if kind == "overwritten":
        filled = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * size
        broken[start : start + size] = filled
    elif kind == "left out":
        del broken[start : start + size]
    else:
        broken[start:start] = broken[start : start + size] * rng.choice([1, 2, 100])
    return kind, bytes(broken)


class Serving(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: object) -> None:
        pass


@cache
def server() -> str:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Serving)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{running.server_port}/image"


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-images-"))


def given(way: str, data: bytes) -> Any:
    if way == "file":
        path = folder() / "image"
        path.write_bytes(data)
        return path
    if way == "file object":
        return io.BytesIO(data)
    if way == "data URL":
        return "data:;base64," + base64.b64encode(data).decode()
    if way == "server":
        Serving.body = data
        return server()
    return data


def pixels(data: bytes) -> np.ndarray | None:
    try:
        return np.asarray(open_image(data))
    except ImageError:
        return None


def attempt(seed: int, number: int) -> Outcome:
    rng = random.Random(f"{seed} {number}")
    kind = rng.choice(FORMATS)
    whole = rng.choice(originals()[kind])
    how, data = damage(rng, whole)
    way = rng.choice(WAYS)
    name = f"{kind} by {way}" if way == "server" else kind
    source = given(way, data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.process_time()
    error: BaseException | None = None
    image = None
    with written_to_stderr() as noise, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = open_image(source)
        except BaseException as raised:
            error = raised
    seconds = time.process_time() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    detail = f"{how} by {way}, {len(data)} bytes"
    if noise:
        return Outcome(name, WRONG, f"{detail}: wrote {noise[0][:80]!r}")
    if error is not None and not isinstance(error, ImageError):
        return Outcome(name, WRONG, f"{type(error).__name__}: {str(error)[:80]}")
    if error is not None and (fault := one_line(error)):
        return Outcome(name, WRONG, fault)
    if seconds > SLOWEST:
        return Outcome(name, SLOW, f"{detail}: {seconds:.1f} s")
    if grown > MOST_MEMORY:
        return Outcome(name, SLOW, f"{detail}: {grown / 2**20:.0f} MB")
    if image is None:
        return Outcome(name, REFUSED)
    if image.mode != "RGB":
        return Outcome(name, WRONG, f"{detail}: mode {image.mode}")
    if kind in NEVER:
        return Outcome(name, ACCEPTED, f"{detail}: a {kind} file was opened")
    if how == "truncated":
        want = pixels(whole)
        if want is None or not np.array_equal(np.asarray(image), want):
            return Outcome(name, ACCEPTED, f"{how} to {len(data)} of {len(whole)} bytes")
    return Outcome(name, GOOD)


if __name__ == "__main__":
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # as the command line does
    originals()
    sys.exit(run(attempt))
