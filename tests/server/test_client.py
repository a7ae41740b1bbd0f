"""The real `openai` client against the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from .conftest import Live, Serve, data_url, with_image
from .fake import FakeBackend


def client_of(live: Live, **options: Any) -> openai.OpenAI:
    settings = {"api_key": "none", "max_retries": 0, "timeout": 20, **options}
    return openai.OpenAI(base_url=f"{live.url}/v1", **settings)


@pytest.fixture(scope="module")
def client(shared: Live) -> Iterator[openai.OpenAI]:
    with client_of(shared) as opened:
        yield opened


def ask(client: openai.OpenAI, question: str = "one two", **fields: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(**{"model": "tiny", "messages": messages, **fields})


def test_plain(client: openai.OpenAI) -> None:
    answer = ask(client, extra_body={"method": "ritual:alpha=2"})
    assert answer.choices[0].message.content == "ritual:alpha=2 seed0 images0 one two"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].secondsight["method"] == "ritual:alpha=2"


def test_streaming_with_usage(client: openai.OpenAI) -> None:
    stream = ask(client, stream=True, stream_options={"include_usage": True})
    found = list(stream)
    text = "".join(one.choices[0].delta.content or "" for one in found if one.choices)
    assert text == "regular seed0 images0 one two"
    assert found[-1].usage.completion_tokens == 5


def test_streams_as_events_of_the_clients_own_helper(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "one"}]
    with client.chat.completions.stream(model="tiny", messages=messages) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "regular seed0 images0 one"


def test_images_logprobs_and_several_draws(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny@vcd",
        messages=with_image(data_url(), data_url(kind="WEBP")),  # type: ignore[arg-type]
        n=2,
        seed=3,
        temperature=1,
        logprobs=True,
        top_logprobs=1,
    )
    first, second = answer.choices
    assert first.message.content == "vcd seed3 images2 What is it?"
    assert second.message.content == "vcd seed4 images2 What is it?"
    assert first.logprobs is not None
    assert first.logprobs.content is not None
    assert first.logprobs.content[0].top_logprobs[0].token == "vcd"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "tiny@ritual" in names
    assert client.models.retrieve("tiny@ritual:alpha=2").id == "tiny@ritual:alpha=2"


def test_errors_are_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="min_p") as wrong:
        ask(client, extra_body={"min_p": 0.1})
    assert wrong.value.param == "min_p"
    with pytest.raises(openai.NotFoundError):
        ask(client, model="gpt-4")
    with pytest.raises(openai.BadRequestError, match="Did you mean 'ritual'"):
        ask(client, extra_body={"method": "ritul"})


def test_a_key(serve: Serve) -> None:
    live = serve(keys=("correct-horse", "battery-staple"))
    with client_of(live, api_key="battery-staple") as client:
        assert ask(client).choices
    with (
        client_of(live, api_key="battery-stapl") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        ask(client)


def test_a_busy_server_is_asked_again(serve: Serve) -> None:
    """The client waits as long as Retry-After says, and its second try is answered."""
    backend = FakeBackend()
    live = serve(backend, places=1, queue=0)
    backend.hold.clear()

    async def both() -> list[Any]:
        settings: Any = {"base_url": f"{live.url}/v1", "api_key": "none", "timeout": 20}
        async with openai.AsyncOpenAI(max_retries=3, **settings) as client:
            messages: Any = [{"role": "user", "content": "x"}]
            first = asyncio.create_task(
                client.chat.completions.create(model="tiny", messages=messages)
            )
            while live.service.line.running == 0:
                await asyncio.sleep(0.01)
            second = asyncio.create_task(
                client.chat.completions.create(model="tiny", messages=messages)
            )
            await asyncio.sleep(0.3)
            backend.hold.set()
            return list(await asyncio.gather(first, second))

    answers = asyncio.run(both())
    assert all(answer.choices[0].message.content for answer in answers)


def test_an_error_in_a_stream_is_raised(serve: Serve) -> None:
    steps = [0]

    def fail(generation: Any) -> None:
        steps[0] += 1
        if steps[0] == 3:
            raise RuntimeError

    with client_of(serve(FakeBackend(fail=fail))) as client:
        stream = ask(client, stream=True)
        with pytest.raises(openai.APIError):
            list(stream)


@pytest.mark.parametrize("stream", [True, False])
def test_who_goes_away_stops_the_engine(serve: Serve, stream: bool) -> None:
    backend = FakeBackend(pause=0.02)
    live = serve(backend)
    words = "word " * 500

    async def leave() -> None:
        settings: Any = {"base_url": f"{live.url}/v1", "api_key": "none", "max_retries": 0}
        async with openai.AsyncOpenAI(**settings) as client:
            messages: Any = [{"role": "user", "content": words}]
            asking = client.chat.completions.create(model="tiny", messages=messages, stream=stream)
            if stream:
                answer: Any = await asking
                async for _ in answer:
                    break
                await answer.close()
                return
            task = asyncio.ensure_future(asking)
            while not backend.steps:
                await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    at_leaving = backend.steps
    deadline = time.monotonic() + 10
    while not backend.cancelled and time.monotonic() < deadline:
        time.sleep(0.005)
    assert backend.cancelled == 1
    assert backend.written[0] <= at_leaving + 2
    while live.service.line.expected and time.monotonic() < deadline:
        time.sleep(0.005)
    assert live.service.line.expected == live.service.line.running == 0
