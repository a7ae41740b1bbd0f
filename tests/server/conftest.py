"""A server on a free port of the loopback, in a thread, with a fake engine or a real one."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image

from secondsight.server.app import create_app
from secondsight.server.backend import Backend
from secondsight.server.config import ServerConfig
from secondsight.server.run import uvicorn_config
from secondsight.server.service import Service

from .fake import FakeBackend


@dataclass
class Live:
    """A running server.

    Attributes:
        url: Where it is.
        service: What it serves.
        backend: Its engine.
        http: A client.
        loop: Its event loop.
    """

    url: str
    service: Service
    backend: Any
    http: httpx.Client
    loop: asyncio.AbstractEventLoop

    def ask(self, question: str = "one two three", **fields: Any) -> httpx.Response:
        """A plain chat completion."""
        body = {"model": "tiny", "messages": [{"role": "user", "content": question}], **fields}
        return self.http.post("/v1/chat/completions", json=body)


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:  # not in a thread
        pass


Serve = Callable[..., Live]


@contextmanager
def serving() -> Iterator[Serve]:
    """Starts servers; the options are those of `ServerConfig`, and `backend`, `fetch`."""
    running: list[tuple[_Server, threading.Thread, httpx.Client]] = []

    def start(
        backend: Backend | None = None, *, loaded: bool = True, fetch: Any = None, **options: Any
    ) -> Live:
        config = ServerConfig(**{"name": "tiny", "port": 0, **options})
        made = backend or FakeBackend()
        services: list[Any] = []
        started = threading.Event()

        async def main() -> None:
            service = Service(config, fetch)
            if loaded:
                service.backend = made
            services.append(service)
            app = create_app(service)
            settings = uvicorn_config(app)
            settings.port = 0
            server = _Server(settings)
            running.append((server, threading.current_thread(), None))  # type: ignore[arg-type]
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.005)
            port = server.servers[0].sockets[0].getsockname()[1]
            services.extend((port, asyncio.get_running_loop()))
            started.set()
            await serving

        thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        thread.start()
        assert started.wait(20)
        url = f"http://127.0.0.1:{services[1]}"
        client = httpx.Client(base_url=url, timeout=20, trust_env=False)
        server, thread, _ = running.pop()
        running.append((server, thread, client))
        return Live(url, services[0], made, client, services[2])

    yield start
    for server, thread, client in running:
        client.close()
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that stop with the test."""
    with serving() as start:
        yield start


def data_url(image: Image.Image | None = None, kind: str = "PNG") -> str:
    """An image as a data URL."""
    buffer = io.BytesIO()
    (image or Image.new("RGB", (40, 30), "red")).save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def with_image(*urls: str, text: str = "What is it?") -> list[dict[str, Any]]:
    """The messages of a question about images."""
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


@pytest.fixture(scope="module")
def shared() -> Iterator[Live]:
    """One server for all tests of a module that leave it as it was."""
    with serving() as start:
        yield start()
