"""Sources in a bucket: a server that speaks S3's protocol, on this machine."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from secondsight.bulk.reading import image_of
from secondsight.bulk.sources import Source

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system of a server with one bucket."""
    server = pytest.importorskip("moto.server", reason="pip install 'moto[server]' s3fs")
    s3fs = pytest.importorskip("s3fs", reason="pip install 'moto[server]' s3fs")
    served = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    yield system
    served.stop()


def png(colour: int) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (8, 6), (colour, 0, 0)).save(held, "PNG")
    return held.getvalue()


def test_folders_patterns_tables_and_archives(bucket: Any) -> None:
    for number in range(3):
        bucket.pipe(f"bucket/in/{number}.png", png(40 * number))
    lines = [{"image": f"in/{number}.png", "question": f"Why {number}?"} for number in (2, 0)]
    bucket.pipe("bucket/list.jsonl", "\n".join(map(json.dumps, lines)).encode())
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        info = tarfile.TarInfo("one.png")
        info.size = len(png(120))
        archive.addfile(info, io.BytesIO(png(120)))
    bucket.pipe("bucket/s-0.tar", held.getvalue())

    def colours(name: str) -> dict[str, int]:
        found = {}
        for row in Source(name, "What?").rows():
            opened = image_of(row)
            assert opened is not None
            found[row.id] = opened.getpixel((0, 0))[0]
        return found

    assert colours("s3://bucket/in") == {"0.png": 0, "1.png": 40, "2.png": 80}
    assert colours("s3://bucket/in/*.png") == {"0.png": 0, "1.png": 40, "2.png": 80}
    assert colours("s3://bucket/list.jsonl") == {"in/2.png": 80, "in/0.png": 0}
    assert colours("s3://bucket/s-*.tar") == {"s-0.tar/one": 120}
