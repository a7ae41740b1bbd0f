"""Requests between the network and the engine: a place, their images, a deadline, their events."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from secondsight.server.backend import Backend, Cancel, Ended, Generation, Stopped, Token
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
        # To trace; who has it may take long, and must not keep answers' images waiting.
        self._turn = asyncio.Lock()
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
        self._enter(request)
        writers = [
            self._writer(request, number, generation, files)
            for number, generation in enumerate(generations)
        ]
        del files
        try:
            yield request
        finally:
            for writer in writers:
                writer.cancel()
            try:
                await asyncio.shield(_ended(writers))
            finally:
                self._exit(request)

    def _shown(self, generation: Generation, files: Sequence[ImageFile]) -> Generation:
        """The same with its images opened, which takes the memory that `pixels` is about."""
        opened = []
        for file in files:
            start = time.monotonic()
            opened.append(file.opened())
            self.decode_seconds(time.monotonic() - start)
        sample = generation.sample
        return replace(generation, sample=sample.showing(opened)) if opened else generation

    @asynccontextmanager
    async def _memory(self, files: Sequence[ImageFile]) -> AsyncIterator[None]:
        """Keep the memory that open images take, while they are being used."""
        pixels = sum(file.pixels for file in files)
        await self.pixels.take(pixels)
        try:
            yield
        finally:
            self.pixels.give(pixels)

    def _writer(
        self, request: Running, number: int, generation: Generation, files: Sequence[ImageFile]
    ) -> asyncio.Task[None]:
        """Start a task that writes one answer; however it ends, its place is given back."""
        seat = _Seat()
        writer = asyncio.create_task(self._write(request, number, generation, files, seat))
        # Not in the task itself: one that is cancelled before its first step runs no code.
        writer.add_done_callback(
            lambda _: self.line.leave(placed=seat.placed, seconds=seat.seconds)
        )
        return writer

    async def _write(
        self,
        request: Running,
        number: int,
        generation: Generation,
        files: Sequence[ImageFile],
        seat: _Seat,
    ) -> None:
        try:
            await self.line.place()
            seat.placed, start = True, time.monotonic()
            ended = await self._generated(request, number, generation, files)
            seat.seconds = time.monotonic() - start
            request.queue.put_nowait(Event(number, ended))
        except Exception as error:
            request.queue.put_nowait(error)

    async def _generated(
        self, request: Running, number: int, generation: Generation, files: Sequence[ImageFile]
    ) -> Ended:
        """Start an answer and wait for its end, its place kept until the engine has let go."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[Ended] = loop.create_future()

        def on_token(token: Token) -> None:
            _call(loop, request.queue.put_nowait, Event(number, token))

        def on_end(outcome: Ended | BaseException) -> None:
            _call(loop, _settle, end, outcome)

        backend, begun = self.ready, asyncio.Event()

        async def start() -> Cancel:
            async with self._memory(files):
                begun.set()
                return await self._threaded(
                    self._starters,
                    lambda: backend.start(self._shown(generation, files), on_token, on_end),
                )

        starting = asyncio.create_task(start())
        try:
            await asyncio.shield(starting)
            return await asyncio.shield(end)
        except asyncio.CancelledError:
            if not begun.is_set():
                starting.cancel()
            with suppress(Exception):
                cancel: Cancel = await starting
                cancel()
                await asyncio.shield(end)
            raise

    async def traced(
        self,
        generation: Generation,
        files: Sequence[ImageFile],
        work: Callable[[Backend, Generation, Stopped], str],
    ) -> str:
        """Run a trace, one after the other; cancelling this stops it.

        Args:
            generation: What is traced, without its images.
            files: The images.
            work: Makes the trace, in a thread, unless it is stopped.

        Raises:
            ApiError: 429: too many wait already.
        """
        backend = self.ready
        if self.tracing >= self.config.limits.traces:
            raise busy("Traces are made one at a time, and several wait. Try again later.", 10)
        self.tracing += 1
        request = Running(1)
        self._enter(request)
        stopped, begun = threading.Event(), asyncio.Event()

        def trace() -> str:
            shown = self._shown(generation, () if stopped.is_set() else files)
            return work(backend, shown, stopped.is_set)

        async def run() -> str:
            async with self._turn:
                begun.set()
                return await self._threaded(self._tracer, trace)

        running = asyncio.create_task(run())
        try:
            return await asyncio.shield(running)
        finally:
            stopped.set()
            if not begun.is_set():
                running.cancel()
            try:
                await asyncio.shield(_ended([running]))
            finally:
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


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
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
