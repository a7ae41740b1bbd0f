"""Traces: one answer with everything that happened on the way, one trace at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fastapi import Request
from starlette.responses import Response

from secondsight.server import planning
from secondsight.server.completions import method_label, read
from secondsight.server.exchange import Visit
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
                lambda backend, images: backend.trace(
                    replace(generation, sample=generation.sample.showing(images))
                    if images
                    else generation,
                    asked.layers,
                    attentions=asked.attentions,
                    wanted=asked.format,
                ),
                files,
            )
            text = await asyncio.wait_for(tracing, service.config.deadline)
        except Exception as error:
            if isinstance(error, asyncio.TimeoutError):
                error = ApiError(504, "The trace took too long.", code="deadline")
            problem = visit.failed(error)
            problem.headers["x-request-id"] = visit.id
            visit.ended(problem.status)
            return problem.response()
        visit.ended(200)
        html = asked.format == "html"
        headers = {"x-request-id": visit.id}
        if html:  # a report is a page of its own, opened by nobody but who asked for it
            headers["content-disposition"] = 'attachment; filename="trace.html"'
        kind = "text/html" if html else "application/json"
        return Response(text, headers=headers, media_type=f"{kind}; charset=utf-8")
