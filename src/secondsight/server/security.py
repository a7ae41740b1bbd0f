"""Who may ask, from where, and how much: plain ASGI layers around the application."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from secondsight.server.config import Limits
from secondsight.server.line import Budget
from secondsight.server.problems import ApiError, busy

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""What the page may do: run its own files, and talk to its own server."""

_HEADERS: Final = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Checks Host, Origin and API key before anything of a request is read.

    Args:
        app: What is guarded.
        hosts: Names that the Host header may hold, without ports; ``*`` for any.
        origins: Origins of other pages that may ask.
        keys: API keys; none for a server without.
        open_paths: Paths that need no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Sequence[str],
        origins: Sequence[str],
        keys: Sequence[str],
        open_paths: Collection[str],
    ) -> None:
        self.app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = {origin.lower() for origin in origins}
        self._keys = [_digest(key) for key in keys]
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope)
        except ApiError as problem:
            await problem.response()(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1:
            raise ApiError(400, "A request needs one Host header.", code="invalid_host")
        host = headers["host"].lower()
        if "*" not in self._hosts and _without_port(host) not in self._hosts:
            raise ApiError(
                403,
                "This server does not answer to that Host. --allow-host names further ones.",
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        if origin is not None and not self._from_here(origin.lower(), host):
            raise ApiError(
                403,
                "Pages of that origin may not use this server. --allow-origin names some.",
                code="origin_not_allowed",
            )
        asks_for_cors = scope["method"] == "OPTIONS" and origin is not None
        if self._keys and scope["path"] not in self._open and not asks_for_cors:
            self._check_key(headers)

    def _from_here(self, origin: str, host: str) -> bool:
        if origin in self._origins or "*" in self._origins:
            return True
        try:
            return urlsplit(origin).netloc == host
        except ValueError:
            return False

    def _check_key(self, headers: Headers) -> None:
        kind, _, key = headers.get("authorization", "").partition(" ")
        given = _digest(key.strip())
        # Every key is compared, and hashes of equal length, so that time tells nothing.
        known = [hmac.compare_digest(given, one) for one in self._keys]
        if kind.lower() != "bearer" or not any(known):
            raise ApiError(
                401,
                "This server wants an API key: Authorization: Bearer KEY.",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )


class BodyLimit:
    """Counts a body while it is read, whatever its Content-Length says, and ends slow ones.

    Args:
        app: What reads the bodies.
        limits: How long they may be and take.
        budget: What all bodies share.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, budget: Budget) -> None:
        self.app = app
        self._limits = limits
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body first; then hand it on in one piece."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        taken = 0
        try:
            try:
                self._announced(Headers(scope=scope))
                chunks: list[bytes] = []
                deadline = asyncio.get_running_loop().time() + self._limits.body_seconds
                more = True
                while more:
                    message = await _before(deadline, receive)
                    if message["type"] == "http.disconnect":
                        return
                    chunk = message.get("body", b"")
                    if taken + len(chunk) > self._limits.body:
                        raise self._too_long()
                    if not self._budget.take_now(len(chunk)):
                        raise busy("Too many large requests at once. Try again later.", 2)
                    taken += len(chunk)
                    chunks.append(chunk)
                    more = message.get("more_body", False)
            except ApiError as problem:
                problem.headers["connection"] = "close"  # the rest of the body is not read
                await problem.response()(scope, receive, send)
                return
            again = _Again(chunks, receive)
            del chunks, message, chunk  # one copy is enough
            await self.app(scope, again, send)
        finally:
            self._budget.give(taken)

    def _announced(self, headers: Headers) -> None:
        announced = headers.get("content-length")
        if announced is None or not announced.isdigit():
            return
        if len(announced) > 20 or int(announced) > self._limits.body:
            raise self._too_long()

    def _too_long(self) -> ApiError:
        return ApiError(
            413,
            f"The request is longer than {self._limits.body:,} bytes. Send smaller images.",
            code="request_too_large",
        )


class _Again:
    """A body that was read already, once more; then what the connection says."""

    def __init__(self, chunks: list[bytes], receive: Receive) -> None:
        self._chunks: list[bytes] | None = chunks
        self._receive = receive

    async def __call__(self) -> Message:
        chunks, self._chunks = self._chunks, None
        if chunks is None:
            return await self._receive()
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return {"type": "http.request", "body": body, "more_body": False}


async def _before(deadline: float, receive: Receive) -> Message:
    left = deadline - asyncio.get_running_loop().time()
    try:
        return await asyncio.wait_for(receive(), max(left, 0.001))
    except asyncio.TimeoutError:
        raise ApiError(408, "The request's body came too slowly.", code="slow_body") from None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if ":" in host else host
