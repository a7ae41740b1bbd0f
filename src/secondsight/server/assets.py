"""The page's own files, served from memory: no path is ever made of what a client sends."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import Response

_KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}


def _files() -> dict[str, tuple[str, bytes]]:
    """Every file by its path on the server: its media type and its bytes."""
    package = resources.files("secondsight")
    found = {}
    for entry in (package / "server" / "page").iterdir():
        ending = entry.name.rpartition(".")[2]
        if ending in _KINDS:
            found[f"/page/{entry.name}"] = (_KINDS[ending], entry.read_bytes())
    found["/page/demo.png"] = (_KINDS["png"], (package / "data" / "demo.png").read_bytes())
    found["/"] = found.pop("/page/index.html")
    found["/docs"] = found.pop("/page/docs.html")
    found["/favicon.ico"] = found["/page/icon.svg"]
    return found


FILES: Final[Mapping[str, tuple[str, bytes]]] = _files()
PATHS: Final = tuple(FILES)
"""The paths of the page; they need no key, since there is nothing in them."""


def add_to(app: FastAPI) -> None:
    """Serve the page."""
    for path, (kind, data) in FILES.items():
        app.add_api_route(path, _serving(kind, data), methods=["GET", "HEAD"])


def _serving(kind: str, data: bytes) -> Callable[..., Awaitable[Response]]:
    tag = f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "no-cache"}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=kind, headers=headers)

    return serve
