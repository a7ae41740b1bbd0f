"""200 clients for a minute, a third of whom go away: nothing hangs, nothing is lost or mixed up."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

import secondsight
from secondsight.server.engine import EngineBackend

from .conftest import data_url, serving

CLIENTS, SECONDS = 200, 60.0
METHODS = ("regular", "ritual", "vcd", "m3id", "ritual+vcd", "apc")
MEGABYTE = 2**20

Key = tuple[int, str, str, int, float, int]


@pytest.mark.slow
def test_two_hundred_clients(model: secondsight.Model, picture: Callable[..., Image.Image]) -> None:
    images = [picture(number) for number in range(4)]
    urls = [data_url(image) for image in images]
    answers: dict[Key, set[str]] = {}
    seen: Counter[str] = Counter()
    memory: list[int] = []

    async def client(number: int, base: str, until: float) -> None:
        draw = random.Random(number)
        async with httpx.AsyncClient(base_url=base, timeout=120, trust_env=False) as http:
            while time.monotonic() < until:
                image, longest = draw.randrange(4), draw.randrange(1, 40)
                question = draw.choice(["What is it?", "Is there a dog?"])
                method = draw.choice(METHODS)
                temperature, seed = draw.choice([0.0, 0.8]), draw.randrange(3)
                key = (image, question, method, longest, temperature, seed)
                leaves, stream = draw.random() < 1 / 3, draw.random() < 0.5
                parts = [
                    {"type": "image_url", "image_url": {"url": urls[image]}},
                    {"type": "text", "text": question},
                ]
                body = {
                    "model": "tiny",
                    "messages": [{"role": "user", "content": parts}],
                    "method": method,
                    "max_tokens": longest,
                    "temperature": temperature,
                    "seed": seed,
                    "stream": stream,
                }
                asking = asyncio.ensure_future(ask(http, body))
                if leaves:
                    await asyncio.wait({asking}, timeout=draw.random() * 0.5)
                    asking.cancel()
                found = (await asyncio.gather(asking, return_exceptions=True))[0]
                if isinstance(found, asyncio.CancelledError):
                    seen["left"] += 1
                elif isinstance(found, BaseException):
                    raise found
                elif isinstance(found, int):
                    seen[str(found)] += 1
                    await asyncio.sleep(0.2 + draw.random())
                else:
                    seen["answered"] += 1
                    answers.setdefault(key, set()).add(found)

    async def watch(until: float) -> None:
        process = psutil.Process()
        while time.monotonic() < until:
            memory.append(process.memory_info().rss)
            await asyncio.sleep(0.5)

    with serving() as start:
        backend = EngineBackend(model, batch_size=16)
        live = start(backend, queue=64)

        async def everybody() -> None:
            until = time.monotonic() + SECONDS
            clients = (client(number, live.url, until) for number in range(CLIENTS))
            await asyncio.wait_for(asyncio.gather(watch(until), *clients), SECONDS + 120)

        asyncio.run(everybody())
        deadline = time.monotonic() + 20
        service = live.service
        while time.monotonic() < deadline and (service.line.expected or service.bodies.used):
            time.sleep(0.05)
        assert service.line.expected == service.line.running == 0
        assert service.pixels.used == service.bodies.used == 0
        assert not backend.load().running
        assert live.ask().status_code == 200
        backend.close()
    model.runner.engine.most = model.runner.engine.joins = None

    print(
        dict(seen),
        f"{(memory[-1] - memory[0]) / MEGABYTE:.0f} MB more at the end,",
        f"{(max(memory) - memory[0]) / MEGABYTE:.0f} MB at the most",
    )
    assert set(seen) <= {"answered", "left", "429"}
    assert seen["answered"] > 100
    assert seen["left"] > 100
    # After the first quarter, by when everything has been used once, it stays where it is.
    settled = memory[len(memory) // 4 :]
    assert settled[-1] - settled[0] < 150 * MEGABYTE
    for (image, question, method, longest, temperature, seed), texts in answers.items():
        settings: Any = {"max_new_tokens": longest, "temperature": temperature, "seed": seed}
        alone = model.answer(images[image], question, method, **settings)
        assert texts == {alone.text}


async def ask(http: httpx.AsyncClient, body: dict[str, Any]) -> str | int:
    """The text of an answer, whole or streamed; or the status of a refusal."""
    response = await http.post("/v1/chat/completions", json=body)
    if response.status_code != 200:
        return response.status_code
    if not body["stream"]:
        return str(response.json()["choices"][0]["message"]["content"])
    events = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    assert events.pop() == "[DONE]", response.text[-300:]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)
