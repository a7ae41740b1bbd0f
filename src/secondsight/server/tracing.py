"""Traces: one answer with everything that happened on the way, one trace at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import Request
from starlette.responses import Response

from secondsight.server import planning
from secondsight.server.completions import method_label, read
from secondsight.server.events import gone
from secondsight.server.exchange import CLIENT_LEFT, Visit
from secondsight.server.metrics import Metrics
from secondsight.server.problems import ApiError
from secondsight.server.schemas import TraceRequest
from secondsight.server.service import Service


class Tracing:
    """Answers trace requests.

    Args:
        service: Images and the engine.
        metrics: Counts them.
    """

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics

    async def trace(self, request: Request) -> Response:
        """``POST /v1/secondsight/trace``."""
        visit = Visit(request.url.path, self._metrics)
        service = self._service
        try:
            service.ready  # noqa: B018 - refuses before anything is read
            asked = await read(TraceRequest, request)
            talk, generation = planning.traced(asked, service.config.name, service.config.limits)
            visit.method = method_label([generation])
            files = await service.images(talk.images)
            visit.images = len(files)

            tracing = service.traced(
                generation,
                files,
                lambda backend, shown, stopped: backend.trace(
                    shown,
                    asked.layers,
                    attentions=asked.attentions,
                    wanted=asked.format,
                    stopped=stopped,
                ),
            )
            text = await self._unless_gone(tracing, request)
        except Exception as error:
            problem = visit.failed(error)
            problem.headers["x-request-id"] = visit.id
            visit.ended(problem.status)
            return problem.response()
        if text is None:
            visit.ended(CLIENT_LEFT)
            return Response(status_code=CLIENT_LEFT)  # which nobody reads
        visit.ended(200)
        html = asked.format == "html"
        headers = {"x-request-id": visit.id}
        if html:  # a report is a page of its own, opened by nobody but who asked for it
            headers["content-disposition"] = 'attachment; filename="trace.html"'
        kind = "text/html" if html else "application/json"
        return Response(text, headers=headers, media_type=f"{kind}; charset=utf-8")

    async def _unless_gone(self, tracing: Coroutine[Any, Any, str], request: Request) -> str | None:
        """The trace; None where the client goes away first, which stops it.

        Raises:
            ApiError: 504: it takes too long.
        """
        work = asyncio.create_task(tracing)
        left = asyncio.create_task(gone(request.receive))
        try:
            await asyncio.wait(
                {work, left},
                timeout=self._service.config.deadline,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if work.done():
                return work.result()
            if left.done():
                return None
            raise ApiError(504, "The trace took too long.", code="deadline")
        finally:
            work.cancel()
            left.cancel()
            await asyncio.wait({work, left})
