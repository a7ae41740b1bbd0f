"""Fetching: bounded in time and size, and only from where the policy allows."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpcore
import pytest

from secondsight import fetching
from secondsight.errors import ImageError
from secondsight.fetching import FetchPolicy, fetch, is_public, shown

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
Talk = Callable[[socket.socket, bytes], None]


@contextmanager
def serving(talk: Talk) -> Iterator[int]:
    """A server on the loopback; `talk` gets each connection and the request's head."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                head = b""
                try:
                    while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
                        head += more
                    talk(connection, head)
                except OSError:
                    pass  # the client has had enough

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def saying(answer: bytes) -> Talk:
    return lambda connection, head: connection.sendall(answer)


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


def test_the_body_and_what_is_asked() -> None:
    heads: list[bytes] = []

    def talk(connection: socket.socket, head: bytes) -> None:
        heads.append(head)
        connection.sendall(OK)

    with serving(talk) as port:
        assert fetch(f"HTTP://me:s%C3%A9cret@127.0.0.1:{port}/caf\u00e9 1.png?q=\u00e4 b#top") == (
            b"hello"
        )
    line, *fields = heads[0].decode().split("\r\n")
    assert line == "GET /caf%C3%A9%201.png?q=%C3%A4%20b HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in fields
    assert "Accept-Encoding: identity" in fields
    assert "Authorization: Basic bWU6c8OpY3JldA==" in fields


@pytest.mark.parametrize(
    "dripped",
    [
        b"",  # nothing at all
        b"HTTP/1.1 200 OK\r\nx: ",  # the head, a byte at a time
        b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n",  # the body
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_a_dripping_server_is_left_when_the_time_is_up(dripped: bytes) -> None:
    def talk(connection: socket.socket, head: bytes) -> None:
        connection.sendall(dripped)
        while dripped:
            time.sleep(0.02)
            connection.sendall(b"1\r\na\r\n" if b"chunked" in dripped else b"a")
        time.sleep(30)

    with serving(talk) as port, pytest.raises(ImageError, match=r"within 0\.5 seconds"):
        fetch(f"http://127.0.0.1:{port}/x.png", FetchPolicy(timeout_s=0.5))


def test_a_server_that_never_finishes_its_handshake() -> None:
    def talk(connection: socket.socket, head: bytes) -> None:
        time.sleep(30)

    with serving(talk) as port, pytest.raises(ImageError, match=r"within 0\.3 seconds"):
        fetch(f"https://127.0.0.1:{port}/x.png", FetchPolicy(timeout_s=0.3))


def test_a_name_that_is_never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: time.sleep(5))
    with pytest.raises(ImageError, match=r"within 0\.2 seconds"):
        fetch("http://slow.example/x.png", FetchPolicy(timeout_s=0.2))


def test_redirects_are_followed_and_counted() -> None:
    def talk(connection: socket.socket, head: bytes) -> None:
        hop = int(head.split(b" ")[1][1:])
        connection.sendall(OK if hop == 0 else redirect(str(hop - 1)))

    with serving(talk) as port:
        assert fetch(f"http://127.0.0.1:{port}/5") == b"hello"
        with pytest.raises(ImageError, match="redirected more than 5 times"):
            fetch(f"http://127.0.0.1:{port}/6")
        with pytest.raises(ImageError, match="redirected more than 0 times"):
            fetch(f"http://127.0.0.1:{port}/1", FetchPolicy(max_redirects=0))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://x/y", "gopher://x", "data:,x"])
def test_a_redirect_leads_to_http_alone(location: str) -> None:
    with serving(saying(redirect(location))) as port, pytest.raises(ImageError, match="only http"):
        fetch(f"http://127.0.0.1:{port}/x")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "404"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204"),
        (b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", "302"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be fetched"),
        (b"", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\n\r\nhello", "compressed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", r"larger than 20 MB"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (20 * 2**20 + 1), r"larger than 20 MB"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000, "cannot be fetched"),
    ],
)
def test_answers_that_are_of_no_use(answer: bytes, words: str) -> None:
    with serving(saying(answer)) as port, pytest.raises(ImageError, match=words) as caught:
        fetch(f"http://127.0.0.1:{port}/x.png")
    assert "/x.png" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "http://[::1",
        "http://a:99999999/",
        "http://a:b/",
        "http://\u2100/",
        "http://" + "a" * 300 + "/",
        "http://a..b/",
        "http://\udcff/",
        "http://127.0.0.1:1/\udcff",
        "http://127.0.0.1:1/\0",
        "http://127.0.0.1:0/",
        "http://a b/",
        "ftp://a/b",
        "x" * 5000,
    ],
)
def test_no_url_at_all(url: str) -> None:
    with pytest.raises(ImageError) as caught:
        fetch(url)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


def test_messages_tell_no_passwords() -> None:
    with pytest.raises(ImageError) as caught:
        fetch("http://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
    assert shown("https://me:secret@host/" + "a" * 500).startswith("https://host/aaa")
    assert len(shown("https://host/" + "a" * 500)) == 200


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # the clouds' metadata
        ("100.64.0.1", False),  # carrier-grade NAT
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("198.18.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("::127.0.0.1", False),
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("2002:5db8:d70e::", True),
        ("64:ff9b::7f00:1", False),  # NAT64 of 127.0.0.1
        ("64:ff9b::5db8:d70e", True),
        ("64:ff9b:1::1", False),
        ("2001:0:7f00:1::", False),  # Teredo by way of 127.0.0.1
        ("no address", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) == public


STRICT = FetchPolicy(allow_private=False)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]",
     "[::ffff:127.0.0.1]", "0"],
)  # fmt: skip
def test_a_private_address_is_not_dialled_however_it_is_written(host: str) -> None:
    reached: list[bytes] = []

    def talk(connection: socket.socket, head: bytes) -> None:
        reached.append(head)

    with serving(talk) as port, pytest.raises(ImageError):
        fetch(f"http://{host}:{port}/", STRICT)
    assert not reached


def test_every_hop_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public server that sends one on to a private one, and a name that changes its mind."""
    asked: list[str] = []
    with (
        serving(saying(b"HTTP/1.1 200 OK\r\n\r\nsecret")) as private,
        serving(saying(redirect(f"http://127.0.0.1:{private}/"))) as public,
    ):

        def addresses(host: str, port: int, seconds: float) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        monkeypatch.setattr(fetching, "resolve", addresses)
        monkeypatch.setattr(fetching, "is_public", lambda address: asked[-1] == "public.example")
        with pytest.raises(ImageError, match="not a public one"):
            fetch(f"http://public.example:{public}/", STRICT)
    assert asked == ["public.example", "127.0.0.1"]


def test_the_address_that_was_checked_is_the_one_that_is_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialled: list[str] = []

    def connect(self: object, host: str, *args: object, **options: object) -> object:
        dialled.append(host)
        raise httpcore.ConnectError("nobody is there")

    answers = iter([["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"], ["127.0.0.1"]])
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    monkeypatch.setattr(fetching, "resolve", lambda *args: next(answers))
    with pytest.raises(ImageError, match="nobody is there"):
        fetch("http://rebinding.example/", STRICT)
    assert dialled == ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]
    with pytest.raises(ImageError, match="not a public one"):
        fetch("http://rebinding.example/", STRICT)
    assert len(dialled) == 2


def test_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "resolve", lambda *args: ["93.184.215.14", "10.0.0.1"])
    with pytest.raises(ImageError, match="not a public one"):
        fetch("http://mixed.example/", STRICT)


def test_the_second_address_is_tried_where_the_first_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "resolve", lambda *args: ["127.0.0.2", "127.0.0.1"])
    with serving(saying(OK)) as port:
        assert fetch(f"http://two.example:{port}/") == b"hello"


def test_domains() -> None:
    policy = FetchPolicy(domains=("Example.org", "*.cdn.example.net"))
    for host in ("example.org", "EXAMPLE.ORG.", "a.cdn.example.net", "a.b.cdn.example.net"):
        assert policy.allows_host(host)
    for host in ("a.example.org", "badexample.org", "cdn.example.net", "example.org.evil.com", ""):
        assert not policy.allows_host(host)
    with serving(saying(OK)) as port:
        with pytest.raises(ImageError, match="not an allowed domain"):
            fetch(f"http://example.org@127.0.0.1:{port}/", policy)
        assert fetch(f"http://127.0.0.1:{port}/", FetchPolicy(domains=("127.0.0.1",))) == b"hello"


def test_a_domain_is_checked_after_a_redirect() -> None:
    with (
        serving(saying(OK)) as port,
        serving(saying(redirect(f"http://localhost:{port}/"))) as first,
    ):
        url = f"http://127.0.0.1:{first}/"
        assert fetch(url) == b"hello"
        with pytest.raises(ImageError, match="localhost is not an allowed domain"):
            fetch(url, FetchPolicy(domains=("127.0.0.1",)))


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    def talk(connection: socket.socket, head: bytes) -> None:
        heads.append(head)
        connection.sendall(OK)

    with serving(talk) as port:
        monkeypatch.setenv("http_proxy", f"http://me:you@127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert fetch("http://far.example/x.png") == b"hello"
        assert heads[0].startswith(b"GET http://far.example/x.png ")
        assert b"Proxy-Authorization: Basic bWU6eW91" in heads[0]
        with pytest.raises(ImageError):  # nobody could say which address a proxy reaches
            fetch("http://127.0.0.1:1/x.png", STRICT)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert fetch(f"http://127.0.0.1:{port}/y.png") == b"hello"
        assert heads[1].startswith(b"GET /y.png ")
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        with pytest.raises(ImageError, match="The proxy socks5"):
            fetch("http://far.example/x.png")
