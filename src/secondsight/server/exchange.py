"""One request from its admission to the last byte of its response."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from secondsight.server import log
from secondsight.server.backend import Generation, Token
from secondsight.server.events import DONE, HEADERS, event, gone, with_pings
from secondsight.server.media import ImageFile
from secondsight.server.metrics import Metrics
from secondsight.server.problems import ApiError, from_failure
from secondsight.server.replies import Reply
from secondsight.server.service import Running, Service

CLIENT_LEFT: Final = 499
"""The status that logs and metrics have for a client that went away."""

_GOODBYE: Final = 5.0
"""How long a client may take to read that its time is over, in seconds."""


@dataclass
class Visit:
    """What is known of a request for the log and the metrics, from its first byte on.

    Attributes:
        route: Its path, one of the application's own.
        id: Names it in the log and in the response.
        started: When it came, by the monotonic clock.
        method: The registered name of its method; ``several`` for a comparison.
    """

    route: str
    metrics: Metrics
    id: str = field(default_factory=lambda: f"req_{secrets.token_hex(10)}")
    started: float = field(default_factory=time.monotonic)
    method: str = "none"
    images: int = 0

    def failed(self, error: Exception) -> ApiError:
        """What the client is told of an error; written down if it was the server's."""
        problem = from_failure(error, self.id)
        if problem.code == "internal_error":
            log.failure(self.id, error)
        return problem

    def ended(
        self, status: int, reply: Reply | None = None, running: Running | None = None
    ) -> None:
        """Count a request that is over, and write its line."""
        now, metrics, method = time.monotonic(), self.metrics, self.method
        metrics.requests.labels(self.route, method, str(status)).inc()
        metrics.seconds.labels(method).observe(now - self.started)
        if status == CLIENT_LEFT:
            metrics.cancelled.labels(method).inc()
        usage = reply.usage() if reply is not None else None
        if usage is not None:
            metrics.prompt_tokens.labels(method).inc(usage["prompt_tokens"])
        first = None
        if running is not None and running.first_token is not None:
            first = running.first_token - self.started
            metrics.tokens.labels(method).inc(running.tokens)
            metrics.first_token.labels(method).observe(first)
            if running.tokens > running.count:
                spent = (now - running.first_token) * running.count
                metrics.per_token.labels(method).observe(spent / (running.tokens - running.count))
        log.line(
            id=self.id,
            route=self.route,
            status=status,
            method=method,
            answers=None if running is None else running.count,
            images=self.images,
            prompt_tokens=None if usage is None else usage["prompt_tokens"],
            tokens=None if running is None else running.tokens,
            first_token=first,
            seconds=now - self.started,
        )


class Exchange(Response):
    """A response that is written while the engine works; who goes away stops it.

    Args:
        service: Places and the engine.
        visit: For the log.
        reply: Writes the answers.
        generations: What is to be written.
        files: The images.
        stream: Whether the answer is sent as events.
        usage: Whether a stream ends with the usage.
    """

    def __init__(
        self,
        service: Service,
        visit: Visit,
        reply: Reply,
        generations: Sequence[Generation],
        files: Sequence[ImageFile],
        *,
        stream: bool,
        usage: bool,
    ) -> None:
        self.background = None
        self._service = service
        self._visit = visit
        self._reply = reply
        self._generations = generations
        self._files = files
        self._stream = stream
        self._usage = usage
        self._running: Running | None = None
        self._begun = False
        self._said = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Work, until it is done, the client has gone, or the time is over."""
        work = asyncio.create_task(self._work(scope, receive, send))
        left = asyncio.create_task(gone(receive))
        spent = time.monotonic() - self._visit.started
        try:
            await asyncio.wait(
                {work, left},
                timeout=max(self._service.config.deadline - spent, 0.001),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._said:  # a connection that has its answer counts as gone, too
                await asyncio.wait({work}, timeout=_GOODBYE)
            if work.done():
                self._visit.ended(work.result(), self._reply, self._running)
                return
            work.cancel()
            await asyncio.wait({work})
            if left.done():
                self._visit.ended(CLIENT_LEFT, self._reply, self._running)
                return
            problem = ApiError(
                504,
                f"The answer was not there after {self._service.config.deadline:g} seconds.",
                code="deadline",
                headers={"x-should-retry": "false"},
            )
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._fail(problem, scope, receive, send), _GOODBYE)
            self._visit.ended(problem.status, self._reply, self._running)
        finally:
            for task in (work, left):
                task.cancel()
            await asyncio.wait({work, left})

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Write the response; returns the status for the log."""
        try:
            async with self._service.running(self._generations, self._files) as running:
                self._running, self._files = running, ()
                if not self._stream:
                    async for one in running.events():
                        self._note(one.choice, one.what)
                    headers = {"x-request-id": self._visit.id}
                    response = JSONResponse(self._reply.whole(), headers=headers)
                    self._said = True
                    await response(scope, receive, send)
                    return 200
                async with aclosing(with_pings(self._events(running))) as pieces:
                    async for piece in pieces:
                        await self._begin(send)
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            self._said = True
            await send({"type": "http.response.body", "body": DONE, "more_body": False})
            return 200
        except Exception as error:
            problem = self._visit.failed(error)
            await self._fail(problem, scope, receive, send)
            return problem.status

    def _note(self, number: int, what: object) -> None:
        choice = self._reply.choices[number]
        if isinstance(what, Token):
            choice.add(what)
        else:
            choice.ended = what  # type: ignore[assignment]

    async def _events(self, running: Running) -> AsyncGenerator[bytes, None]:
        opened = False
        async for one in running.events():
            self._note(one.choice, one.what)
            chunks = [] if opened else self._reply.opening(usage=self._usage)
            opened = True
            if isinstance(one.what, Token):
                piece = self._reply.piece(one.choice, usage=self._usage)
                chunks += [] if piece is None else [piece]
            else:
                chunks.append(self._reply.closing(one.choice, usage=self._usage))
            if chunks:
                yield b"".join(map(event, chunks))
        if self._usage:
            yield event(self._reply.usage_chunk())

    async def _begin(self, send: Send) -> None:
        if self._begun:
            return
        self._begun = True
        headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "x-request-id": self._visit.id,
            **HEADERS,
        }
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})

    async def _fail(self, problem: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        """Say what went wrong: with its status, or as an event once the response has begun."""
        self._said = True
        if not self._begun:
            self._begun = True
            problem.headers["x-request-id"] = self._visit.id
            await problem.response()(scope, receive, send)
            return
        body = event(problem.body())
        await send({"type": "http.response.body", "body": body, "more_body": False})
