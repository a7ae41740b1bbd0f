"""Hostile requests: none gives 5xx, a leak, or much memory; each is refused in OpenAI's form."""

from __future__ import annotations

import base64
import http.server
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import psutil
import pytest
from PIL import Image

from secondsight import UserError, fetching
from secondsight.server.config import Limits, ServerConfig
from secondsight.server.run import fetcher

from .conftest import Live, Serve, data_url, with_image

MEGABYTE = 2**20


@contextmanager
def little_memory(most: int = 200 * MEGABYTE) -> Iterator[None]:
    """Fails if the process takes much more memory than before, at any moment."""
    process = psutil.Process()
    before, peak, over = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert peak[0] - before < most, f"{(peak[0] - before) / MEGABYTE:.0f} MB"


def send(live: Live, *urls: str, **fields: Any) -> Any:
    body = {"model": "tiny", "messages": with_image(*urls), **fields}
    return live.http.post("/v1/chat/completions", json=body)


def refused(response: Any, *statuses: int) -> dict[str, Any]:
    assert response.status_code in statuses, response.text[:500]
    error: dict[str, Any] = response.json()["error"]
    assert error["message"]
    assert len(response.content) < 5000
    return error


def png(width: int, height: int, *, rows: int = 0) -> bytes:
    """A PNG whose header promises a size; its data are a few rows of zeros, well compressed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = zlib.compress((b"\0" * (1 + (width + 7) // 8)) * rows, 9)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def as_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


# ---------------------------------------------------------------- images


def test_decompression_bombs(shared: Live) -> None:
    bomb = png(10_000, 10_000, rows=10_000)
    assert len(bomb) < 20_000
    with little_memory():
        for data in (bomb, png(60_000, 60_000), png(2**31 - 1, 2**31 - 1), png(25_001, 1000)):
            assert refused(send(shared, as_url(data)), 400)["code"] in (
                "image_too_large",
                "invalid_image",
            )


def test_narrow_images_that_would_be_padded_to_huge_squares(shared: Live) -> None:
    """25,000 x 1 pixels are few, and 625 million once a model has padded them."""
    for size in ((25_000, 1), (1, 25_000), (6001, 2)):
        error = refused(send(shared, as_url(png(*size, rows=size[1]))), 400)
        assert error["code"] == "image_too_large"
    assert send(shared, as_url(png(6000, 1, rows=1))).status_code == 200


def test_many_images_of_the_allowed_size(shared: Live) -> None:
    one = as_url(png(5000, 4999, rows=4999))
    with little_memory():
        error = refused(send(shared, one, one, one), 400)
    assert error["code"] == "image_too_large"


def test_ten_thousand_images(shared: Live) -> None:
    with little_memory():
        refused(send(shared, *[data_url(Image.new("RGB", (1, 1)))] * 10_000), 400)
        error = refused(send(shared, *[data_url()] * 9), 400)
    assert error["code"] == "too_many_images"


ADDRESSES = [
    "http://127.0.0.1/x.png",
    "https://example.org/x.png",
    "HTTP://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
    "/etc/passwd",
    "../../etc/passwd",
    "~/.ssh/id_rsa",
    "ftp://example.org/x.png",
    "javascript:alert(1)",
    "data:text/html;base64,PGI+",
    "data:image/svg+xml;base64,PHN2Zy8+",
    "data:image/png,rawbytes",
    "data:image/png;base64,",
    "data:image/png;base64,@@@@",
    "data:,",
    "",
    "\x00",
    "a" * 100_000,
]


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda one: repr(one[:30]))
def test_addresses_that_are_no_data_urls(shared: Live, address: str) -> None:
    error = refused(send(shared, address), 400)
    assert "root:" not in json.dumps(error)


def test_base64_as_clients_write_it(shared: Live) -> None:
    """Without padding, of the URL's alphabet, with line ends."""
    head, _, text = data_url().partition(",")
    wrapped = "\n".join(text[i : i + 60] for i in range(0, len(text), 60))
    urlsafe = text.replace("+", "-").replace("/", "_")
    for form in (text.rstrip("="), wrapped, urlsafe):
        assert send(shared, f"{head},{form}").status_code == 200
    assert send(shared, data_url().replace("image/png", "IMAGE/PNG")).status_code == 200


def test_formats_that_are_shut(shared: Live) -> None:
    picture = Image.new("RGB", (20, 20), "red")
    for kind in ("TIFF", "PPM", "EPS", "ICO", "TGA", "PDF"):
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        assert refused(send(shared, as_url(buffer.getvalue())), 400)["code"] == "invalid_image"


def test_damaged_images(shared: Live) -> None:
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        buffer = io.BytesIO()
        Image.effect_noise((60, 40), 50).convert("RGB").save(buffer, kind)
        whole = buffer.getvalue()
        for length in (0, 1, 8, 30, len(whole) // 2):
            refused(send(shared, as_url(whole[:length])), 400)
        flipped = bytearray(whole)
        for place in range(12, len(flipped), 7):
            flipped[place] ^= 0x55
        assert send(shared, as_url(bytes(flipped))).status_code in (200, 400)


def test_a_text_that_holds_a_data_url_is_a_text(shared: Live) -> None:
    answer = shared.ask("what is data:image/png;base64,AAAA here?")
    assert answer.status_code == 200
    assert "images0" in answer.text


# ---------------------------------------------------------------- fetching


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self.send_response(302)
        self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
        self.end_headers()

    def log_message(self, *given: Any) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """A server of images on the loopback, which the policy must not reach."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    server.seen = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", server.seen  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_no_private_address_is_reached(serve: Serve, elsewhere: tuple[str, list[str]]) -> None:
    place, seen = elsewhere
    port = place.rpartition(":")[2]
    domains = ("127.0.0.1", "localhost", "0.0.0.0", "[::1]", "2130706433", "0x7f.1")
    live = serve(fetch=fetcher(domains))
    for host in (*domains, "127.0.0.1.", "0177.0.0.1", "[::ffff:127.0.0.1]"):
        refused(send(live, f"http://{host}:{port}/x.png"), 400)
    for url in ("https://example.org/x.png", f"http://user@{place}/x", "http://[/", "http://"):
        refused(send(live, url), 400)
    assert not seen


def test_only_allowed_domains_are_asked(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that points to a private address is as good as that address."""
    asked: list[str] = []

    resolved = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **more: Any) -> list[Any]:
        if host == "127.0.0.1":  # the test's own client
            return list(resolved(host, *rest, **more))
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 80))]

    live = serve(fetch=fetcher(("images.example.org",)))
    monkeypatch.setattr("secondsight.fetching.socket.getaddrinfo", resolve)
    refused(send(live, "http://images.example.org/x.png"), 400)
    refused(send(live, "http://evil.example.net/x.png"), 400)
    refused(send(live, "http://images.example.org.evil.net/x.png"), 400)
    assert asked == ["images.example.org"]


class _Hop(http.server.BaseHTTPRequestHandler):
    """Sends on to wherever the query says, or shows an image."""

    def do_GET(self) -> None:
        self.server.seen.append(self.headers["host"])  # type: ignore[attr-defined]
        _, _, target = self.path.partition("?to=")
        if target:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(base64.b64decode(data_url().partition(",")[2]))

    def log_message(self, *given: Any) -> None:
        pass


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[str]]]:
    """A server that stands for the open internet under `*.example.org`, all else being private."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hop)
    server.seen = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = {"a.example.org": "93.184.215.14", "b.example.org": "93.184.215.15"}
    monkeypatch.setattr(
        fetching, "resolve", lambda host, port, seconds: [names.get(host, "169.254.169.254")]
    )
    connect = httpcore.SyncBackend.connect_tcp

    def dial(self: Any, host: str, port: int, *rest: Any, **more: Any) -> Any:
        if port == server.server_port:  # not the test's own client
            assert host in names.values(), f"{host} was dialled"  # by address, never by name
        return connect(self, "127.0.0.1", port, *rest, **more)

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", dial)
    yield server.server_port, server.seen  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_every_hop_of_a_fetched_image_is_checked(serve: Serve, hops: tuple[int, list[str]]) -> None:
    port, seen = hops
    live = serve(fetch=fetcher(("*.example.org",)))
    a, b = f"http://a.example.org:{port}", f"http://b.example.org:{port}"
    answer = send(live, f"{a}/x.png?to={b}/y.png")
    assert answer.status_code == 200
    assert "images1" in answer.text
    assert seen == [f"a.example.org:{port}", f"b.example.org:{port}"]
    for target in (
        "http://169.254.169.254/latest/meta-data/",
        f"http://evil.example.net:{port}/",
        f"http://inner.example.org:{port}/",  # an allowed name of a private address
        "file:///etc/passwd",
        f"{a}/?to={a}/?to={a}/?to={a}/?to={a}/",
        "//127.0.0.1/",
    ):
        before = len(seen)
        error = refused(send(live, f"{a}/x.png?to={target}"), 400)
        assert error["code"] == "invalid_image"
        assert len(seen) <= before + 4


def test_a_name_that_changes_its_mind(
    serve: Serve, hops: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what was resolved for the check is what is dialled; later it is refused."""
    port, seen = hops
    answers = iter(["93.184.215.14", "127.0.0.1", "127.0.0.1"])
    monkeypatch.setattr(fetching, "resolve", lambda *given: [next(answers)])
    live = serve(fetch=fetcher(("rebinding.example",)))
    url = f"http://rebinding.example:{port}/x.png"
    assert send(live, url).status_code == 200
    refused(send(live, url), 400)
    assert len(seen) == 1


def test_what_is_fetched_has_limits_too(serve: Serve, hops: tuple[int, list[str]]) -> None:
    port, _ = hops
    live = serve(fetch=fetcher(("a.example.org",)), limits=Limits(pixels=100))
    error = refused(send(live, f"http://a.example.org:{port}/x.png"), 400)
    assert error["code"] == "image_too_large"


# ---------------------------------------------------------------- bodies


def raw(live: Live, head: str, body: bytes = b"", *, wait: float = 15) -> bytes:
    """What the server answers to bytes of one's own."""
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except TimeoutError:
            pass
        return found


POST = "POST /v1/chat/completions HTTP/1.1\nHost: 127.0.0.1\nContent-Type: application/json"


def test_long_bodies(serve: Serve) -> None:
    live = serve(limits=Limits(body=100_000, bodies=150_000))
    headers = {"content-type": "application/json"}

    def chunks() -> Iterator[bytes]:
        for _ in range(1000):
            yield b" " * 10_000

    with little_memory(60 * MEGABYTE):
        known = live.http.post("/v1/chat/completions", content=b" " * 200_000, headers=headers)
        assert refused(known, 413)["code"] == "request_too_large"
        unknown = live.http.post("/v1/chat/completions", content=chunks(), headers=headers)
        refused(unknown, 413)
        endless = raw(live, f"{POST}\nContent-Length: 99999999999999999999999")
        assert endless[9:12] in (b"400", b"413")
    assert live.service.bodies.used == 0
    assert live.ask().status_code == 200


def test_slow_bodies(serve: Serve) -> None:
    live = serve(limits=Limits(body_seconds=0.3))
    start = time.monotonic()
    answer = raw(live, f"{POST}\nContent-Length: 1000", b"{")
    assert b" 408 " in answer[:20]
    assert time.monotonic() - start < 10
    assert live.service.bodies.used == 0


HEADS = [
    "GET /ready HTTP/1.1",
    "GET /ready HTTP/1.1\nHost: 127.0.0.1\nHost: evil.example",
    "GET /ready HTTP/1.1\nHost: evil.example",
    "GET /ready HTTP/1.1\nHost: 127.0.0.1.evil.example",
    "GET /ready HTTP/1.1\nHost: ",
    f"{POST}\nContent-Length: 5\nContent-Length: 7",
    f"{POST}\nContent-Length: -1",
    f"{POST}\nContent-Length: 5\nTransfer-Encoding: chunked",
    f"{POST}\nTransfer-Encoding: gzip",
    f"GET /{'a' * 70_000} HTTP/1.1\nHost: 127.0.0.1",
    "GET /ready HTTP/1.1\nHost: 127.0.0.1\n" + "\n".join(f"X-{n}: {'y' * 900}" for n in range(80)),
    "GET http://evil.example/ready HTTP/1.1\nHost: evil.example",
    "nonsense",
    "GET /ready HTTP/9.9\nHost: 127.0.0.1",
    "GET /..%2f..%2fetc/passwd HTTP/1.1\nHost: 127.0.0.1",
    "GET /page/../../../etc/passwd HTTP/1.1\nHost: 127.0.0.1",
    "GET /page/%2e%2e/%2e%2e/config.py HTTP/1.1\nHost: 127.0.0.1",
    "POST /ready HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 0",
    "TRACE /ready HTTP/1.1\nHost: 127.0.0.1",
]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head[:60])
def test_tricks_with_heads(shared: Live, head: str) -> None:
    answer = raw(shared, f"{head}\nConnection: close", wait=1)
    status = int(answer.split(b" ", 2)[1]) if answer else 400
    harmless = "9.9" in head or "X-0" in head  # odd, and answered as what they mean
    assert status == 200 if harmless else 400 <= status < 500, answer[:300]
    assert b"root:" not in answer
    assert b"Traceback" not in answer


# ---------------------------------------------------------------- who may ask


def test_a_page_of_another_origin_may_not(shared: Live) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "http://["):
        response = shared.http.get("/v1/models", headers={"origin": origin})
        assert refused(response, 403)["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in response.headers
    assert shared.http.get("/v1/models", headers={"origin": shared.url}).status_code == 200


def test_an_allowed_origin(serve: Serve) -> None:
    live = serve(origins=("https://chat.example",), keys=("correct-horse",))
    headers = {"origin": "https://chat.example"}
    asked = {"access-control-request-method": "POST", **headers}
    asked["access-control-request-headers"] = "authorization,content-type"
    before = live.http.options("/v1/chat/completions", headers=asked)
    assert before.headers["access-control-allow-origin"] == "https://chat.example"
    assert "access-control-allow-credentials" not in before.headers
    refused(live.http.get("/v1/models", headers=headers), 401)
    headers["authorization"] = "Bearer correct-horse"
    answer = live.http.get("/v1/models", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "https://chat.example"


def test_keys(serve: Serve) -> None:
    live = serve(keys=("correct-horse", "battery-staple"))
    for path in ("/v1/models", "/metrics", "/ready", "/openapi.json", "/v1/secondsight/server"):
        response = live.http.get(path)
        assert refused(response, 401)["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"
    for wrong in ("Bearer", "Bearer x", "Basic correct-horse", "correct-horse"):
        refused(live.http.get("/v1/models", headers={"authorization": wrong}), 401)
    refused(live.ask(), 401)
    for path in ("/health", "/", "/docs", "/page/app.js"):
        assert live.http.get(path).status_code == 200
    for key in ("correct-horse", "battery-staple"):
        headers = {"authorization": f"Bearer {key}"}
        assert live.http.get("/v1/models", headers=headers).status_code == 200


def test_every_answer_has_its_headers(shared: Live) -> None:
    for path in ("/", "/v1/models", "/nowhere", "/page/app.js"):
        headers = shared.http.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_an_open_address_wants_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(UserError, match="key"):
            ServerConfig("m", host=host)
        assert ServerConfig("m", host=host, keys=("correct-horse",)).known_hosts == ("*",)
        assert host in ServerConfig("m", host=host, exposed=True).known_hosts
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.2"):
        assert ServerConfig("m", host=host).local


@pytest.mark.parametrize(
    "options",
    [
        *({"keys": ("short",)}, {"keys": (" padded-key ",)}, {"port": 70000}, {"places": 0}),
        *({"queue": -1}, {"origins": ("example.org",)}, {"deadline": 0}),
    ],
    ids=str,
)
def test_settings_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        ServerConfig("m", **options)
