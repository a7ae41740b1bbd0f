"""Running a server: it listens at once, loads the model meanwhile, and drains when told to stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import uvicorn

from secondsight.blocks import return_large_blocks
from secondsight.errors import UserError
from secondsight.fetching import FetchPolicy, fetch
from secondsight.server import scenes
from secondsight.server.app import create_app
from secondsight.server.backend import Backend
from secondsight.server.config import MEGABYTE, ServerConfig
from secondsight.server.media import Fetch
from secondsight.server.service import Service

_KEEP_ALIVE: Final = 30
"""Seconds after which a silent connection is closed."""

_BACKLOG: Final = 512
_HEAD: Final = 32_768
"""The longest head of a request, in bytes."""

_CONNECTIONS: Final = 1024
"""Connections at once; more get 503 before anything of them is read."""


def run(config: ServerConfig, load: Callable[[], Backend], started: Callable[[str], None]) -> None:
    """Serve until a signal says to stop.

    Args:
        config: How.
        load: Loads the model, in a thread; requests get 503 until it is there.
        started: Told the server's address once it is listened at, and once more when the model
            is there.

    Raises:
        UserError: The model cannot be loaded, or the address cannot be listened at.
    """
    failures: list[BaseException] = []
    return_large_blocks()
    asyncio.run(_serve(config, load, started, failures))
    if failures:
        raise failures[0]


async def _serve(
    config: ServerConfig,
    load: Callable[[], Backend],
    started: Callable[[str], None],
    failures: list[BaseException],
) -> None:
    service = Service(config, fetcher(config.media_domains))
    loop = asyncio.get_running_loop()
    server = _Server(service, create_app(service))

    def work() -> None:
        try:
            service.backend = load()
        except BaseException as error:
            failures.append(error)
            server.should_exit = True
            return
        loop.call_soon_threadsafe(started, f"ready: {config.name}")
        with suppress(UserError):  # a package that only the scenes need
            scenes.mentions(0, [])  # reads which words name objects, once

    # A thread that does not keep the process from ending while a large model loads.
    threading.Thread(target=work, name="load", daemon=True).start()
    sockets = [_bound(config)]
    try:
        host, port = sockets[0].getsockname()[:2]
        started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        await server.serve(sockets=sockets)
    finally:
        for socket in sockets:
            socket.close()


def _bound(config: ServerConfig) -> Any:
    import socket

    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((config.host, config.port))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise UserError(
            f"{config.host}:{config.port} cannot be listened at: {error.strerror or error}. "
            "Name another --port."
        ) from None
    return opened


def uvicorn_config(app: Any) -> uvicorn.Config:
    """How the network is listened to: no access log, which would hold what clients send."""
    return uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=5,
        limit_concurrency=_CONNECTIONS,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=_HEAD,
        http="h11",
        ws="none",
    )


def fetcher(domains: tuple[str, ...]) -> Fetch | None:
    """What fetches images by address: none without domains, never from a private address."""
    if not domains:
        return None
    policy = FetchPolicy(
        allow_private=False,
        domains=domains,
        timeout_s=10,
        max_bytes=20 * MEGABYTE,
        max_redirects=3,
    )
    return lambda url: fetch(url, policy)


class _Server(uvicorn.Server):
    """Drains at the first signal: new requests get 503, running ones end; a second one ends all."""

    def __init__(self, service: Service, app: Any) -> None:
        super().__init__(uvicorn_config(app))
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._draining = False
        self._drained: asyncio.Task[None] | None = None  # kept, or it would be collected

    def handle_exit(self, sig: int, frame: Any) -> None:
        """A signal came."""
        if self._draining or self._service.backend is None:
            self.force_exit = self._draining
            self.should_exit = True
            return
        self._draining = True
        self._loop.call_soon_threadsafe(self._start_draining)

    def _start_draining(self) -> None:
        self._drained = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        await self._service.drain()
        self.should_exit = True
