"""Places and the line, deadlines, draining, metrics and the log."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from secondsight.server.config import Limits
from secondsight.server.events import PING

from .conftest import Live, Serve, data_url, with_image
from .fake import FakeBackend


def soon(so: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "it never was"
        time.sleep(0.005)


def asking(live: Live, pool: ThreadPoolExecutor, **fields: Any) -> Future[httpx.Response]:
    def ask() -> httpx.Response:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], **fields}
        return httpx.post(f"{live.url}/v1/chat/completions", json=body, timeout=20, trust_env=False)

    return pool.submit(ask)


def test_the_line(serve: Serve) -> None:
    """Two are written, two wait, the fifth is sent away with a time to come again."""
    backend = FakeBackend()
    live = serve(backend, places=2, queue=2)
    backend.hold.clear()
    with ThreadPoolExecutor(8) as pool:
        let_in = [asking(live, pool) for _ in range(4)]
        soon(lambda: live.service.line.expected == 4)
        soon(lambda: live.service.line.running == 2)
        away = live.ask()
        assert away.status_code == 429
        assert 0 < int(away.headers["retry-after"]) <= 120
        assert away.json()["error"]["type"] == "rate_limit_error"
        backend.hold.set()
        assert [one.result().status_code for one in let_in] == [200] * 4
    assert backend.most <= 2
    soon(lambda: live.service.line.expected == live.service.line.running == 0)


def test_several_answers_need_as_many_places(serve: Serve) -> None:
    live = serve(places=2, queue=1)
    assert live.ask(n=3, temperature=1).status_code == 200
    assert live.ask(n=4, temperature=1).status_code == 429
    assert live.service.line.expected == 0


def test_those_in_line_come_in_their_order(serve: Serve) -> None:
    backend = FakeBackend()
    live = serve(backend, places=1, queue=10)
    backend.hold.clear()
    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            asking(live, pool, messages=[{"role": "user", "content": str(number)}])
            soon(lambda number=number: live.service.line.expected == number + 1)
        backend.hold.set()
    assert backend.started == ["0", "1", "2", "3", "4"]


def test_a_deadline_before_and_after_the_first_byte(serve: Serve) -> None:
    backend = FakeBackend(pause=0.05)
    live = serve(backend, deadline=1)
    late = live.ask("word " * 200)
    assert late.status_code == 504
    assert late.headers["x-should-retry"] == "false"
    stream = live.ask("word " * 200, stream=True)
    assert stream.status_code == 200
    assert '"code":"deadline"' in stream.text.split("\n\n")[-2]
    soon(lambda: backend.cancelled == 2)
    soon(lambda: live.service.line.expected == 0)


def test_while_the_model_loads(serve: Serve) -> None:
    live = serve(loaded=False)
    for response in (live.ask(), live.http.get("/ready")):
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["error"]["code"] == "loading"
    assert live.http.get("/health").status_code == 200
    live.service.backend = live.backend
    assert live.http.get("/ready").status_code == 200


def test_a_dead_engine_is_not_ready(serve: Serve) -> None:
    live = serve()
    live.backend.close()
    soon(lambda: not live.backend.alive)
    assert live.http.get("/ready").status_code == 503
    assert live.ask().json()["error"]["code"] == "engine_dead"


def test_a_silent_stream_says_that_it_lives(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secondsight.server.events.with_pings.__defaults__", (0.1,))
    backend = FakeBackend()
    live = serve(backend)
    backend.hold.clear()
    threading.Timer(0.5, backend.hold.set).start()
    text = live.ask(stream=True).text
    assert text.startswith(PING.decode())
    assert text.endswith("data: [DONE]\n\n")


def test_images_wait_for_memory(serve: Serve) -> None:
    """Their pixels are counted before they are opened, until they have been prepared."""
    preparing, go_on = [], threading.Event()

    class Slow(FakeBackend):
        def start(self, *given: Any) -> Any:
            preparing.append(True)
            assert go_on.wait(10)
            return super().start(*given)

    live = serve(Slow(), limits=Limits(total_pixels=1500))  # one image of 40 x 30
    with ThreadPoolExecutor(4) as pool:
        asked = [asking(live, pool, messages=with_image(data_url())) for _ in range(3)]
        soon(lambda: live.service.line.running == 3)
        soon(lambda: bool(preparing))
        assert live.service.pixels.used == 1200
        assert len(preparing) == 1
        go_on.set()
        assert all(one.result().status_code == 200 for one in asked)
    assert live.service.pixels.used == 0


def test_metrics(serve: Serve) -> None:
    live = serve()
    live.ask(method="ritual:alpha=2")
    live.ask(method="nothing")
    live.ask(messages=with_image(data_url()))
    line = 'first_token_seconds_count{method="regular"} 1.0'  # written after the answer is sent
    soon(lambda: line in live.http.get("/metrics").text)
    text = live.http.get("/metrics").text
    route = 'route="/v1/chat/completions"'
    assert f'secondsight_requests_total{{method="ritual",{route},status="200"}} 1.0' in text
    assert f'secondsight_requests_total{{method="none",{route},status="400"}} 1.0' in text
    assert 'secondsight_tokens_total{method="ritual"} 6.0' in text
    assert 'secondsight_first_token_seconds_count{method="regular"} 1.0' in text
    assert "secondsight_images_total 1.0" in text
    assert "secondsight_places 8.0" in text
    assert "alpha" not in text  # parameters would make the number of labels grow


def test_the_log_holds_no_contents(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def fail(generation: Any) -> None:
        if "crash" in generation.sample.question:
            raise RuntimeError(generation.sample.question)

    live = serve(FakeBackend(fail=fail), keys=("correct-horse",))
    live.http.headers["authorization"] = "Bearer correct-horse"
    with caplog.at_level(logging.DEBUG, logger="secondsight"):
        live.ask("my secret question")
        live.ask("crash at my secret question")
        live.ask("my secret question", method="secret")
        live.http.get("/v1/models?secret=1")
    written = "\n".join(record.getMessage() for record in caplog.records)
    assert "id=req_" in written
    assert "RuntimeError" in written
    assert "status=500" in written
    assert "secret" not in written
    assert "horse" not in written


def test_draining(serve: Serve) -> None:
    """Who is in ends; who comes is told to come again."""
    backend = FakeBackend()
    live = serve(backend, grace=10)
    backend.hold.clear()
    with ThreadPoolExecutor(4) as pool:
        running = asking(live, pool)
        soon(lambda: live.service.line.running == 1)
        loop = live.loop
        draining = asyncio.run_coroutine_threadsafe(live.service.drain(), loop)
        soon(lambda: live.service.draining)
        turned_away = live.ask()
        assert turned_away.status_code == 503
        assert turned_away.json()["error"]["code"] == "draining"
        assert live.http.get("/ready").status_code == 503
        assert not draining.done()
        backend.hold.set()
        assert running.result().status_code == 200
        draining.result(10)


def test_draining_ends_what_takes_too_long(serve: Serve) -> None:
    backend = FakeBackend(pause=0.05)
    live = serve(backend, grace=0)
    with ThreadPoolExecutor(4) as pool:
        body = {"model": "tiny", "stream": True, "max_tokens": 500}
        messages = [{"role": "user", "content": "word " * 400}]
        running = asking(live, pool, **body, messages=messages)
        soon(lambda: backend.steps > 2)
        asyncio.run_coroutine_threadsafe(live.service.drain(), live.loop).result(10)
        text = running.result().text
    assert '"code":"draining"' in text.split("\n\n")[-2]
    soon(lambda: backend.cancelled == 1)
