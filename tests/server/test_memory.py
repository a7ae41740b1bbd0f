"""What large images cost a server of the bundled model, a process of its own: 200 MB at the most.

Linux tells the peak of a process, and forgets it when asked to.
"""

from __future__ import annotations

import base64
import io
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from .conftest import with_image

MOST = 200.0
LARGEST, LARGEST_WEBP = (4096, 3072), (3344, 2508)

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak"
)


class Served:
    """A server in a process, and what its memory does."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self._proc = Path(f"/proc/{process.pid}")
        self.http = httpx.Client(base_url=url, timeout=120, trust_env=False)

    def _megabytes(self, name: str) -> float:
        text = (self._proc / "status").read_text()
        return int(text.split(f"{name}:")[1].split()[0]) / 1024

    def ask(self, *urls: str, **fields: Any) -> httpx.Response:
        body = {"model": "bundled", "messages": with_image(*urls), "max_tokens": 3, **fields}
        route = fields.pop("route", "/v1/chat/completions")
        body.pop("route", None)
        return self.http.post(route, json=body)

    def costs(self, *asked: dict[str, Any]) -> float:
        """The megabytes that requests, all at once, take beyond what there was."""
        before = self._megabytes("VmRSS")
        (self._proc / "clear_refs").write_text("5")
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = list(pool.map(lambda one: self.ask(*one.pop("urls"), **one), asked))
        assert [one.status_code for one in answers] == [200] * len(answers), answers[0].text[:300]
        return self._megabytes("VmHWM") - before


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    command = [sys.executable, "-m", "secondsight", "serve", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        said = iter(process.stderr.readline, b"")
        url = next(line for line in said if b"http://" in line).split()[-1].decode()
        found = Served(process, url)
        for _ in range(600):
            if found.http.get("/ready").status_code == 200:
                break
            time.sleep(0.1)
        for number in range(12):  # what is used for the first time costs nobody's 200 MB
            seed = {"seed": number}
            assert found.ask(photo((300, 200)), method="ritual", **seed).status_code == 200
        traced = {"route": "/v1/secondsight/trace", "format": "attention", "method": "ritual"}
        assert found.ask(photo((300, 200)), **traced).status_code == 200
        yield found
    finally:
        process.terminate()
        process.communicate(timeout=30)


def photo(size: tuple[int, int], kind: str = "PNG", mode: str = "RGB", **options: Any) -> str:
    """A large image in a file that is not too large."""
    draw = np.random.default_rng(size[0])
    rough = Image.fromarray(draw.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    file = io.BytesIO()
    rough.resize(size).convert(mode).save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


KINDS = {
    "PNG": {"kind": "PNG", "compress_level": 1},
    "PNG with alpha": {"kind": "PNG", "mode": "RGBA", "compress_level": 1},
    "PNG of 16 bits": {"kind": "PNG", "mode": "I;16", "compress_level": 1},
    "JPEG": {"kind": "JPEG"},
    "progressive JPEG": {"kind": "JPEG", "progressive": True, "subsampling": 0},
    "WebP": {"kind": "WEBP", "method": 0},
    "lossless WebP": {"kind": "WEBP", "lossless": True, "method": 0, "quality": 0},
    "GIF": {"kind": "GIF", "mode": "P"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_as_large_as_may_be(served: Served, kind: str) -> None:
    size = LARGEST_WEBP if "WebP" in kind else LARGEST
    assert served.costs({"urls": [photo(size, **KINDS[kind])]}) < MOST


@pytest.mark.parametrize(
    "method",
    ["ritual:transform=blur", "ritual:transform=color", "ritual:transform=rotate", "ritual+vcd"],
)
def test_its_views(served: Served, method: str) -> None:
    cost = served.costs({"urls": [photo(LARGEST, "JPEG")], "method": method})
    assert cost < MOST


def test_a_trace_of_it(served: Served) -> None:
    route = {"route": "/v1/secondsight/trace", "format": "attention", "method": "ritual"}
    assert served.costs({"urls": [photo(LARGEST, "JPEG")], **route}) < MOST


def test_several_images_in_a_request(served: Served) -> None:
    urls = [photo((1400, 1400 - number), "JPEG") for number in range(6)]  # all that fit a prompt
    assert served.costs({"urls": urls, "method": "ritual:transform=blur"}) < MOST


def test_several_clients(served: Served) -> None:
    draw = random.Random(3)
    asked = [
        {"urls": [photo(LARGEST, draw.choice(["PNG", "JPEG"]))], "method": "ritual", "seed": number}
        for number in range(6)
    ]
    sent = sum(len(one["urls"][0]) for one in asked) / 2**20  # each waits with what it sent
    assert served.costs(*asked) < MOST + sent


def test_a_file_as_large_as_may_be(served: Served) -> None:
    draw = np.random.default_rng(0)
    noise = Image.fromarray(draw.integers(0, 256, (2150, 3000, 3), dtype=np.uint8))
    file = io.BytesIO()
    noise.save(file, "PNG", compress_level=0)
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    assert 18e6 < len(file.getvalue()) < 20 * 2**20
    assert served.costs({"urls": [url], "method": "ritual:transform=color"}) < MOST
