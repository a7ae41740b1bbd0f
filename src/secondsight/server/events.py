"""Server-sent events: a response that is read while it is written, and notices who goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from starlette.types import Receive

T = TypeVar("T")

DONE: Final = b"data: [DONE]\n\n"
PING: Final = b": waiting\n\n"
"""A comment, for proxies that close what is silent."""

PAUSE: Final = 15.0
"""After so many seconds of silence a comment is sent."""

HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event(data: Mapping[str, Any]) -> bytes:
    """One event."""
    return (
        b"data: "
        + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        + b"\n\n"
    )


async def gone(receive: Receive) -> None:
    """Return once the client has gone away; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def with_pings(
    source: AsyncIterator[bytes], pause: float = PAUSE
) -> AsyncGenerator[bytes, None]:
    """The same, with comments where it is silent for long."""
    following: asyncio.Future[bytes] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(source))
            done, _ = await asyncio.wait({following}, timeout=pause)
            if not done:
                yield PING
                continue
            try:
                piece = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield piece
    finally:
        if following is not None:
            following.cancel()
            with suppress(BaseException):
                await following
