"""The application: routes, layers, and errors in one form."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from secondsight import __version__
from secondsight.errors import UserError
from secondsight.server import assets, names, openapi, scenes
from secondsight.server.completions import Completions, read
from secondsight.server.config import ServerConfig
from secondsight.server.facts import server_facts
from secondsight.server.metrics import Metrics
from secondsight.server.problems import ApiError, bad_request, from_user_error
from secondsight.server.schemas import MentionsRequest
from secondsight.server.security import BodyLimit, Guard
from secondsight.server.service import Service
from secondsight.server.tracing import Tracing

OPEN: Final = ("/health",)
"""Paths that need no key, besides the page's own files, which hold nothing."""


def create_app(service: Service, *, startup: Callable[[], None] | None = None) -> FastAPI:
    """Make the application.

    Args:
        service: What it serves; its backend may come later.
        startup: Called in the event loop once it runs; loads the model in a thread.
    """
    config = service.config
    metrics = Metrics(service)
    created_at = int(time.time())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if startup is not None:
            startup()
        yield
        service.close()

    app = FastAPI(
        title="secondsight",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        middleware=_layers(service, config),
    )
    _errors(app)
    completions = Completions(service, metrics)
    tracing = Tracing(service, metrics)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        return await completions.chat(request)

    @app.post("/v1/secondsight/compare")
    async def compare(request: Request) -> Response:
        return await completions.compare(request)

    @app.post("/v1/secondsight/trace")
    async def trace(request: Request) -> Response:
        return await tracing.trace(request)

    @app.get("/v1/models")
    async def models() -> Response:
        listed = names.listing(config.name, created_at, helpers=config.limits.helpers)
        return JSONResponse({"object": "list", "data": listed})

    @app.get("/v1/models/{model_id:path}")
    async def model(model_id: str) -> Response:
        method = names.chosen(config.name, model_id, None, helpers=config.limits.helpers)
        return JSONResponse(names.model_object(model_id, config.name, method, created_at))

    @app.get("/v1/secondsight/server")
    async def server() -> Response:
        return JSONResponse(server_facts(service))

    @app.get("/v1/secondsight/scenes/{index}")
    async def scene(index: int) -> Response:
        return JSONResponse(await service.aside(lambda: scenes.described(index)))

    @app.post("/v1/secondsight/scenes/{index}/mentions")
    async def mentions(index: int, request: Request) -> Response:
        asked = await read(MentionsRequest, request)
        found = await service.aside(lambda: scenes.mentions(index, asked.texts))
        return JSONResponse({"texts": found})

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Response:
        service.ready  # noqa: B018 - refuses while it is not
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def prometheus() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json")
    async def document() -> Response:
        return JSONResponse(openapi.document(config))

    assets.add_to(app)
    return app


def _layers(service: Service, config: ServerConfig) -> list[Middleware]:
    layers = [
        Middleware(
            Guard,
            hosts=config.known_hosts,
            origins=config.origins,
            keys=config.keys,
            open_paths=(*OPEN, *assets.PATHS),
        )
    ]
    if config.origins:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.origins),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type"],
                expose_headers=["retry-after", "x-request-id"],
            )
        )
    layers.append(Middleware(BodyLimit, limits=config.limits, budget=service.bodies))
    return layers


def _errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def problem(request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(UserError)
    async def mistake(request: Request, error: UserError) -> Response:
        return from_user_error(error).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return bad_request("The request's address is malformed.").response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        messages = {
            404: f"There is nothing at {request.url.path[:200]}. See /docs.",
            405: f"{request.method[:20]} is not possible here.",
        }
        message = messages.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        return ApiError(error.status_code, message, headers=headers).response()
