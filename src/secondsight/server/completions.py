"""Chat completions and comparisons: from the request to the exchange that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from secondsight.server import planning
from secondsight.server.backend import Generation
from secondsight.server.config import Limits
from secondsight.server.exchange import Exchange, Visit
from secondsight.server.facts import fingerprint
from secondsight.server.messages import Conversation
from secondsight.server.metrics import Metrics
from secondsight.server.problems import ApiError, bad_request
from secondsight.server.replies import Reply
from secondsight.server.schemas import ChatRequest, CompareRequest, parsed
from secondsight.server.service import Service

R = TypeVar("R", bound=BaseModel)
Plan = Callable[[Any, str, Limits], tuple[Conversation, list[Generation]]]


async def read(kind: type[R], request: Request) -> R:
    """A request's body, which must say that it is JSON.

    Pages of other origins cannot say so without asking first, and are not allowed to.

    Raises:
        ApiError: 400 or 415.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise ApiError(415, "Send JSON, with Content-Type: application/json.", code="not_json")
    # Not request.body(), which keeps it until the answer has been sent.
    return parsed(kind, b"".join([piece async for piece in request.stream()]))


class Completions:
    """Answers chat completions and comparisons.

    Args:
        service: Places, images, the engine.
        metrics: Counts them.
    """

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        return await self._answer(request, ChatRequest, planning.chat)

    async def compare(self, request: Request) -> Response:
        """``POST /v1/secondsight/compare``."""
        return await self._answer(request, CompareRequest, planning.comparison)

    async def _answer(self, request: Request, kind: type[R], plan: Plan) -> Response:
        service = self._service
        visit = Visit(request.url.path, self._metrics)
        try:
            service.ready  # noqa: B018 - refuses before anything is read
            asked: Any = await read(kind, request)
            talk, generations = plan(asked, service.config.name, service.config.limits)
            visit.method = method_label(generations)
            options = asked.stream_options
            if options is not None and not asked.stream:
                raise bad_request("stream_options needs stream: true.", "stream_options")
            files = await service.images(talk.images)
            visit.images = len(files)
            self._metrics.images.inc(len(files))
            reply = Reply(asked.model, service.config.name, fingerprint(service), generations)
            return Exchange(
                service,
                visit,
                reply,
                generations,
                files,
                stream=bool(asked.stream),
                usage=options is not None and options.include_usage,
            )
        except Exception as error:
            problem = visit.failed(error)
            problem.headers["x-request-id"] = visit.id
            visit.ended(problem.status)
            return problem.response()


def method_label(generations: list[Generation]) -> str:
    """What the metrics call a request's methods: a registered name, combination, or several."""
    found = {type(generation.method).name or "combination" for generation in generations}
    return found.pop() if len(found) == 1 else "several"
