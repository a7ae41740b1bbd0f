"""Fetching an image from a URL: how long, how much, and from where.

The rules hold for every connection, redirects included: a name is resolved once, its addresses
are checked, and one of them is dialled, so that a name cannot point elsewhere a moment later.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import httpcore

from secondsight.errors import ImageError

if TYPE_CHECKING:
    import ssl

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_SCHEMES: Final = ("http", "https")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LONGEST_SHOWN: Final = 200


@dataclass(frozen=True)
class FetchPolicy:
    """What may be fetched, and from where.

    Attributes:
        allow_private: Whether private, loopback, link-local and other special addresses may be
            reached. Only then are the environment's proxies used: behind one, nobody can say
            which address is reached.
        domains: The hosts that may be asked, redirects included: ``example.org`` is that host,
            ``*.example.org`` every host below it; None for any.
        timeout_s: The longest time for the whole download, in seconds: names, connections,
            redirects and data.
        max_bytes: The largest body, in bytes.
        max_redirects: How many redirects are followed.
    """

    allow_private: bool = True
    domains: tuple[str, ...] | None = None
    timeout_s: float = 20.0
    max_bytes: int = 20 * 2**20
    max_redirects: int = 5

    def allows_host(self, host: str) -> bool:
        """Whether a host may be asked by its name."""
        if self.domains is None:
            return True
        name = host.lower().rstrip(".")
        return any(
            name.endswith(domain[1:]) if domain.startswith("*.") else name == domain
            for domain in (domain.lower().rstrip(".") for domain in self.domains)
        )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, whatever it is wrapped in."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [one for one in (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())) if one]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if inner:
            return all(is_public(str(one)) for one in inner)
        if ip.is_site_local or ip in ipaddress.IPv6Network("64:ff9b:1::/48"):
            return False
    special = ip.is_multicast or ip.is_reserved or ip.is_unspecified
    return ip.is_global and not special


def is_url(text: str) -> bool:
    """Whether a text is an http or https URL."""
    return text[:8].lower().startswith(("http://", "https://"))


def shown(url: str) -> str:
    """A URL as messages show it: in one line, shortened, without a user's password."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    text = f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
    text = "".join(one if one.isprintable() else "?" for one in text)
    return text if len(text) <= _LONGEST_SHOWN else text[:100] + "..." + text[-97:]


def fetch(url: str, policy: FetchPolicy | None = None) -> bytes:
    """Fetch what a URL holds.

    Args:
        url: An http or https URL.
        policy: What may be fetched, from where, and for how long; `FetchPolicy()` if left out.

    Returns:
        The body, as it was sent.

    Raises:
        ImageError: It cannot be reached, may not be, is too large, or takes too long.
    """
    policy = policy or FetchPolicy()
    deadline = _Deadline(policy.timeout_s)
    try:
        return _follow(url, policy, deadline)
    except httpcore.TimeoutException as error:
        raise ImageError(
            f"{shown(url)} was not fetched within {policy.timeout_s:g} seconds. Download it first."
        ) from error
    except (*_FAILURES, OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{shown(url)} cannot be fetched: {_reason(error)}.") from error


_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")[:_LONGEST_SHOWN]


def _follow(url: str, policy: FetchPolicy, deadline: _Deadline) -> bytes:
    here = url
    for _ in range(policy.max_redirects + 1):
        parts = _split(here)
        found = _get(parts, url, policy, deadline)
        if isinstance(found, bytes):
            return found
        here = urljoin(here, found)
    raise ImageError(
        f"{shown(url)} cannot be fetched: it is redirected more than {policy.max_redirects} times."
    )


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme.lower() not in _SCHEMES:
        raise ImageError(f"{shown(url)} cannot be fetched: only http and https are.")
    if not parts.hostname:
        raise ImageError(f"{shown(url)} cannot be fetched: it names no host.")
    return parts


def _get(parts: SplitResult, url: str, policy: FetchPolicy, deadline: _Deadline) -> bytes | str:
    """The body that one address gives, or where it says to go on."""
    scheme, host = parts.scheme.lower(), _ascii_host(parts.hostname or "")
    if not policy.allows_host(host):
        raise ImageError(f"{shown(url)} cannot be fetched: {host} is not an allowed domain.")
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (
        "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~[]") if parts.query else ""
    )
    address = httpcore.URL(
        scheme=scheme.encode(), host=host.encode(), port=parts.port, target=target.encode()
    )
    headers: dict[bytes | str, bytes | str] = {
        "User-Agent": "secondsight",
        "Accept": "image/*,*/*;q=0.8",
    }
    headers["Accept-Encoding"] = "identity"
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    with (
        _pool(scheme, host, policy, deadline) as pool,
        pool.stream("GET", address, headers=headers) as response,
    ):
        fields = {
            name.lower().decode("latin-1"): value.decode("utf-8", "replace")
            for name, value in response.headers
        }
        if response.status in _REDIRECTS and "location" in fields:
            return fields["location"]
        if response.status != 200:
            raise ImageError(
                f"{shown(url)} cannot be fetched: the server answered {response.status}."
            )
        if fields.get("content-encoding", "identity").lower() != "identity":
            raise ImageError(
                f"{shown(url)} cannot be fetched: the server sends it compressed "
                f"({fields['content-encoding'][:20]}). Download it first."
            )
        return _body(response.iter_stream(), fields.get("content-length", ""), url, policy)


def _body(chunks: Iterable[bytes], length: str, url: str, policy: FetchPolicy) -> bytes:
    data = bytearray()
    if not length.isdecimal() or int(length[:20]) <= policy.max_bytes:
        for chunk in chunks:
            data += chunk
            if len(data) > policy.max_bytes:
                break
        else:
            return bytes(data)
    raise ImageError(
        f"{shown(url)} is larger than {policy.max_bytes / 2**20:g} MB. Download and shrink it "
        "first."
    )


def _ascii_host(host: str) -> str:
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError as error:
        raise ImageError(f"{host[:_LONGEST_SHOWN]!r} is not a host's name.") from error


def _pool(
    scheme: str, host: str, policy: FetchPolicy, deadline: _Deadline
) -> httpcore.ConnectionPool:
    options: dict[str, Any] = {"network_backend": _Backend(policy, deadline)}
    if scheme == "https":
        options["ssl_context"] = _certificates()
    proxy = _proxy(scheme, host) if policy.allow_private else None
    if proxy is None:
        return httpcore.ConnectionPool(**options)
    where = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if where.scheme not in _SCHEMES or not where.hostname:
        raise ImageError(
            f"The proxy {shown(proxy)} of this environment cannot be used: only http and https "
            "proxies can. Download the image first, or set NO_PROXY."
        )
    if where.username is not None:
        user = (unquote(where.username).encode(), unquote(where.password or "").encode())
        options["proxy_auth"] = user
    place = f"{where.scheme}://{where.netloc.rpartition('@')[2]}"
    return httpcore.HTTPProxy(place, **options)


def _proxy(scheme: str, host: str) -> str | None:
    if urllib.request.proxy_bypass(host):
        return None
    found = urllib.request.getproxies()
    return found.get(scheme) or found.get("all") or None


@cache
def _certificates() -> ssl.SSLContext:
    context = httpcore.default_ssl_context()
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        context.load_verify_locations(cafile=file or None, capath=folder or None)
    return context


class _Deadline:
    """What is left of the time for one download."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds.

        Raises:
            httpcore.ReadTimeout: There are none.
        """
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout("the time for the download is up")
        return seconds


class _Backend(httpcore.NetworkBackend):
    """Connects where the policy allows it, and for as long as the deadline allows it."""

    def __init__(self, policy: FetchPolicy, deadline: _Deadline) -> None:
        self.policy, self.deadline = policy, deadline
        self.sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = resolve(host, port, self.deadline.left())
        if not self.policy.allow_private and not all(map(is_public, addresses)):
            raise ImageError(
                f"{host[:_LONGEST_SHOWN]} cannot be fetched from: its address is not a public one."
            )
        for number, address in enumerate(addresses):
            share = self.deadline.left() / (len(addresses) - number)
            try:
                stream = self.sockets.connect_tcp(
                    address, port, share, local_address, socket_options
                )
                return _Stream(stream, self.deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses) - 1:
                    raise
        raise httpcore.ConnectError("the name has no address")


class _Stream(httpcore.NetworkStream):
    """A connection that ends with the deadline, however often it is read from."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self.inner, self.deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.inner.read(max_bytes, self.deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.inner.write(buffer, self.deadline.left())

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self.inner.start_tls(ssl_context, server_hostname, self.deadline.left())
        return _Stream(secured, self.deadline)

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)


def resolve(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a name, asked for by a thread: the system's resolver knows no deadline.

    Args:
        host: A name or an address.
        port: The port that will be dialled.
        seconds: How long it may take.

    Raises:
        httpcore.ConnectTimeout: It takes longer.
        httpcore.ConnectError: There is no such name.
    """
    answer: SimpleQueue[list[str] | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(one[4][0]) for one in found)))
        except Exception as error:  # UnicodeError for an impossible label, among others
            answer.put(error)

    threading.Thread(target=ask, name="secondsight-resolve", daemon=True).start()
    try:
        addresses = answer.get(timeout=seconds)
    except Empty:
        raise httpcore.ConnectTimeout("the name was not resolved in time") from None
    if isinstance(addresses, Exception):
        raise httpcore.ConnectError(_reason(addresses)) from addresses
    return addresses
