"""Requests between the network and the engine: a place, their images, a deadline, their events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from PIL import Image

from secondsight.server.backend import Backend, Cancel, Ended, Generation, Token
from secondsight.server.config import ServerConfig
from secondsight.server.line import Budget, Line
from secondsight.server.media import Fetch, ImageFile, image_files
from secondsight.server.problems import busy, unavailable

T = TypeVar("T")

_DECODERS: Final = 2
"""Images that are opened at once."""

_STARTERS: Final = 2
"""Requests that are prepared at once; some ask the model a question first, and wait for it."""

_STARTING: Final = 15.0
"""When to come again while the model loads or the server stops, in seconds."""


@dataclass(frozen=True)
class Event:
    """What happened to one of a request's answers: a token, or its end."""

    choice: int
    what: Token | Ended


@dataclass(eq=False)
class Running:
    """A request that was let in.

    Attributes:
        count: How many answers it wants.
        queue: What happened and was not read yet.
        first_token: When its first token was there, by the monotonic clock.
        started: When it was let in.
        tokens: How many tokens it has got.
    """

    count: int
    queue: asyncio.Queue[Event | BaseException] = field(default_factory=asyncio.Queue)
    started: float = field(default_factory=time.monotonic)
    first_token: float | None = None
    tokens: int = 0

    async def events(self) -> AsyncIterator[Event]:
        """What happens, as it happens, until all answers have ended.

        Raises:
            BaseException: What prevented one of them.
        """
        left = self.count
        while left:
            event = await self.queue.get()
            if isinstance(event, BaseException):
                raise event
            if isinstance(event.what, Token):
                self.tokens += 1
                self.first_token = self.first_token or time.monotonic()
            else:
                left -= 1
            yield event


@dataclass
class _Seat:
    """Whether an answer has a place, and how long it took."""

    placed: bool = False
    seconds: float | None = None


class Service:
    """Lets requests in, gives them places in turn, and hands their events over.

    Everything here runs in one event loop; the backend calls back from its own thread.

    Args:
        config: What is allowed.
        fetch: Fetches images by address; None where that is off.
    """

    def __init__(self, config: ServerConfig, fetch: Fetch | None = None) -> None:
        self.config = config
        self.fetch = fetch
        self.line = Line(config.places, config.queue)
        self.bodies = Budget(config.limits.bodies)
        self.pixels = Budget(config.limits.total_pixels)
        self.tracing = 0
        self.draining = False
        self.backend: Backend | None = None
        self.decode_seconds: Callable[[float], None] = lambda seconds: None
        self._decoders: Executor = ThreadPoolExecutor(_DECODERS, "decode")
        self._starters: Executor = ThreadPoolExecutor(_STARTERS, "start")
        self._tracer: Executor = ThreadPoolExecutor(1, "trace")
        self._idle = asyncio.Event()
        self._idle.set()
        self._active: set[Running] = set()

    @property
    def ready(self) -> Backend:
        """The backend.

        Raises:
            ApiError: 503: the model is loading, the server stops, or its engine has died.
        """
        if self.draining:
            raise unavailable("The server is stopping.", "draining", _STARTING)
        if self.backend is None:
            raise unavailable("The model is loading.", "loading", _STARTING)
        if not self.backend.alive:
            raise unavailable("The engine has stopped; restart the server.", "engine_dead", 60)
        return self.backend

    async def images(self, urls: Sequence[str]) -> list[ImageFile]:
        """A request's images as far as their headers, read in a thread."""
        if not urls:
            return []
        return await self._threaded(
            self._decoders, lambda: image_files(urls, self.config.limits, self.fetch)
        )

    @asynccontextmanager
    async def running(
        self, generations: Sequence[Generation], files: Sequence[ImageFile]
    ) -> AsyncIterator[Running]:
        """Let a request in; leaving the block cancels what has not ended.

        Args:
            generations: The answers it wants, without their images.
            files: The images of all of them.

        Raises:
            ApiError: 429, 503, or 400 for an image.
        """
        self.ready  # noqa: B018 - refuses
        self.line.join(len(generations))
        request = Running(len(generations))
        writers: list[asyncio.Task[None]] = []
        pixels = sum(file.pixels for file in files)
        taken = False
        self._enter(request)
        try:
            if pixels:
                await self.pixels.take(pixels)
                taken = True
            opened = await self._opened(files)
            for number, generation in enumerate(generations):
                sample = generation.sample
                shown = replace(generation, sample=sample.showing(opened) if opened else sample)
                writers.append(self._writer(request, number, shown))
            del opened
            yield request
        finally:
            for writer in writers:
                writer.cancel()
            if len(writers) < len(generations):  # never started
                for _ in range(len(generations) - len(writers)):
                    self.line.leave(placed=False)
            try:
                await asyncio.shield(_ended(writers))
            finally:
                if taken:
                    self.pixels.give(pixels)
                self._exit(request)

    async def _opened(self, files: Sequence[ImageFile]) -> list[Image.Image]:
        opened = []
        for file in files:
            start = time.monotonic()
            opened.append(await self._threaded(self._decoders, file.opened))
            self.decode_seconds(time.monotonic() - start)
        return opened

    def _writer(self, request: Running, number: int, generation: Generation) -> asyncio.Task[None]:
        """Start a task that writes one answer; however it ends, its place is given back."""
        seat = _Seat()
        writer = asyncio.create_task(self._write(request, number, generation, seat))
        # Not in the task itself: one that is cancelled before its first step runs no code.
        writer.add_done_callback(
            lambda _: self.line.leave(placed=seat.placed, seconds=seat.seconds)
        )
        return writer

    async def _write(
        self, request: Running, number: int, generation: Generation, seat: _Seat
    ) -> None:
        try:
            await self.line.place()
            seat.placed, start = True, time.monotonic()
            ended = await self._generated(request, number, generation)
            seat.seconds = time.monotonic() - start
            request.queue.put_nowait(Event(number, ended))
        except Exception as error:
            request.queue.put_nowait(error)

    async def _generated(self, request: Running, number: int, generation: Generation) -> Ended:
        """Start an answer and wait for its end, its place kept until the engine has let go."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[Ended] = loop.create_future()

        def on_token(token: Token) -> None:
            _call(loop, request.queue.put_nowait, Event(number, token))

        def on_end(outcome: Ended | BaseException) -> None:
            _call(loop, _settle, end, outcome)

        backend = self.ready
        starting = loop.run_in_executor(self._starters, backend.start, generation, on_token, on_end)
        try:
            await asyncio.shield(starting)
            return await asyncio.shield(end)
        except asyncio.CancelledError:
            with suppress(Exception):
                cancel: Cancel = await starting
                cancel()
                await asyncio.shield(end)
            raise

    async def traced(
        self, work: Callable[[Backend, Sequence[Image.Image]], str], files: Sequence[ImageFile]
    ) -> str:
        """Run a trace, one after the other.

        Args:
            work: What to do with the backend and the images, in a thread.
            files: The images.

        Raises:
            ApiError: 429: too many wait already.
        """
        backend = self.ready
        if self.tracing >= self.config.limits.traces:
            raise busy("Traces are made one at a time, and several wait. Try again later.", 10)
        self.tracing += 1
        request = Running(1)
        self._enter(request)
        pixels = sum(file.pixels for file in files)
        await self.pixels.take(pixels)
        try:
            opened = await self._opened(files)
            return await self._threaded(self._tracer, lambda: work(backend, opened))
        finally:
            self.pixels.give(pixels)
            self.tracing -= 1
            self._exit(request)

    async def drain(self) -> None:
        """Let nobody in any more, and wait until those who are in have ended, or `grace` is over.

        What still runs then ends with an error.
        """
        self.draining = True
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self.config.grace)
        for request in self._active:
            request.queue.put_nowait(unavailable("The server is stopping.", "draining", _STARTING))
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), 5)

    def close(self) -> None:
        """Stop the threads and the engine."""
        if self.backend is not None:
            self.backend.close()
        for pool in (self._decoders, self._starters, self._tracer):
            pool.shutdown(wait=False, cancel_futures=True)

    def _enter(self, request: Running) -> None:
        self._active.add(request)
        self._idle.clear()

    def _exit(self, request: Running) -> None:
        self._active.discard(request)
        if not self._active:
            self._idle.set()

    async def aside(self, work: Callable[[], T]) -> T:
        """Do something small in a thread that prepares images."""
        return await self._threaded(self._decoders, work)

    async def _threaded(self, pool: Executor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _settle(end: asyncio.Future[Ended], outcome: Ended | BaseException) -> None:
    if end.done():
        return
    if isinstance(outcome, BaseException):
        end.set_exception(outcome)
    else:
        end.set_result(outcome)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *given: object) -> None:
    """Call in the loop from another thread; a loop that has closed needs no more news."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *given)
