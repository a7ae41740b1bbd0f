"""The server on a real engine: its answers are those of `model.answer`, whoever else is served."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import platform
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import httpx
import pytest
import torch
from PIL import Image

import secondsight
from secondsight import Request, Sample, Settings, Turn
from secondsight.benchmarks.sticker_source import sticker_images
from secondsight.server.engine import EngineBackend
from secondsight.trace.modules import language_layers
from secondsight.views import TRANSFORMS

from .conftest import Live, data_url, serving

METHODS = ("regular", "ritual", "vcd:alpha=0.5", "m3id", "ritual+vcd", "apc")


@pytest.fixture(scope="module")
def live(model: secondsight.Model) -> Iterator[Live]:
    with serving() as start:
        backend = EngineBackend(model, batch_size=4)
        live = start(backend, queue=100)
        yield live
        backend.close()
    model.runner.engine.most = model.runner.engine.joins = None


def body_of(image: Image.Image | None, question: str, **fields: Any) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": question}]
    if image is not None:
        parts.insert(0, {"type": "image_url", "image_url": {"url": data_url(image)}})
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}], **fields}


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def test_answers_in_random_company_equal_single_ones(
    live: Live, model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    draw = random.Random(5)
    asked: list[tuple[Image.Image, str, str, dict[str, Any]]] = []
    for number in range(24):
        settings = {
            "max_completion_tokens": draw.randrange(1, 12),
            "temperature": draw.choice([0, 0, 0.9]),
            "seed": draw.randrange(100),
            "repetition_penalty": draw.choice([1.0, 1.3]),
        }
        question = draw.choice(["What is it?", "Is there a dog?", "Describe the red cat."])
        asked.append((picture(number % 5), question, draw.choice(METHODS), settings))

    async def one(client: httpx.AsyncClient, number: int) -> str:
        image, question, method, settings = asked[number]
        await asyncio.sleep(draw.random() * 0.3)
        fields = {"method": method, **settings, "stream": number % 3 == 0}
        response = await client.post(
            "/v1/chat/completions", json=body_of(image, question, **fields)
        )
        return streamed(response.text) if number % 3 == 0 else text_of(response)

    async def all_of_them() -> list[str]:
        async with httpx.AsyncClient(base_url=live.url, timeout=120, trust_env=False) as client:
            return list(await asyncio.gather(*(one(client, n) for n in range(len(asked)))))

    served = asyncio.run(all_of_them())
    for (image, question, method, settings), text in zip(asked, served, strict=True):
        longest = settings.pop("max_completion_tokens")
        alone = model.answer(image, question, method, max_new_tokens=longest, **settings)
        assert text == alone.text


def streamed(text: str) -> str:
    events = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
    assert events.pop() == "[DONE]"
    return "".join(
        choice["delta"].get("content", "")
        for event in events
        for choice in json.loads(event)["choices"]
    )


def test_a_search_comes_at_its_end_with_all_its_tokens(
    live: Live, model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    fields: dict[str, Any] = {"num_beams": 3, "max_completion_tokens": 6, "method": "vcd"}
    alone = model.answer(picture(1), "What is it?", "vcd", num_beams=3, max_new_tokens=6)
    asked = body_of(picture(1), "What is it?", logprobs=True, evidence=True, **fields)
    [choice] = live.http.post("/v1/chat/completions", json=asked).json()["choices"]
    assert choice["message"]["content"] == alone.text
    said = choice["logprobs"]["content"]
    assert len(said) == len(alone.ids)
    assert alone.score == pytest.approx(sum(one["logprob"] for one in said) / 6, abs=1e-4)
    assert [one["id"] for one in choice["secondsight"]["evidence"]] == list(alone.ids)
    response = live.http.post(
        "/v1/chat/completions", json=body_of(picture(1), "What is it?", stream=True, **fields)
    )
    assert streamed(response.text) == alone.text


def test_a_conversation_with_images_of_several_turns(
    live: Live, model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    first, second = picture(1), picture(2)
    messages = [
        {"role": "system", "content": "Be brief."},
        *body_of(first, "What is it?")["messages"],
        {"role": "assistant", "content": "A cat."},
        *body_of(second, "And this?")["messages"],
    ]
    body = {"model": "tiny@ritual", "messages": messages, "max_tokens": 6}
    response = live.http.post("/v1/chat/completions", json=body)
    sample = Sample(
        (first, second),
        "And this?",
        history=(Turn("What is it?", "A cat."),),
        system="Be brief.",
        places=(0, 1),
    )
    [(_, alone)] = model.answers([Request(sample, "ritual", Settings(max_new_tokens=6))])
    assert text_of(response) == alone.text
    usage = response.json()["usage"]
    assert usage["prompt_tokens_details"]["image_tokens"] == 18
    assert usage["completion_tokens"] == len(alone.ids)


def test_stop_strings_are_named_and_left_out(live: Live, model: secondsight.Model) -> None:
    whole = model.answer(None, "What is it?", max_new_tokens=12).text
    stop = whole[4:6]
    body = body_of(None, "What is it?", max_tokens=12, stop=["nowhere", stop])
    response = live.http.post("/v1/chat/completions", json=body)
    choice = response.json()["choices"][0]
    assert choice["message"]["content"] == whole[: whole.index(stop)].rstrip()
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


@pytest.mark.parametrize("method", ["regular", "vcd", "ritual"])
def test_logprobs_are_the_final_distributions(
    live: Live, model: secondsight.Model, picture: Callable[..., Image.Image], method: str
) -> None:
    """Compared with what an observer of the engine sees, whatever the schedule."""
    steps: list[Any] = []
    request = Request(Sample(picture(3), "What is it?"), method, Settings(max_new_tokens=5))
    answer = model.submit(request, observer=steps.append).result()
    fields = {"method": method, "max_tokens": 5, "logprobs": True, "top_logprobs": 4}
    body = body_of(picture(3), "What is it?", **fields)
    choice = live.http.post("/v1/chat/completions", json=body).json()["choices"][0]
    content = choice["logprobs"]["content"]
    assert len(content) == len(answer.ids)
    for step, said in zip(steps, content, strict=True):
        expected = torch.log_softmax(step.scores.double(), dim=-1)
        assert said["logprob"] == pytest.approx(float(expected[step.token]), abs=1e-4)
        possible = int((expected > -torch.inf).sum())
        assert len(said["top_logprobs"]) == min(4, possible)
        values = [one["logprob"] for one in said["top_logprobs"]]
        assert values == sorted(values, reverse=True)
        assert values[0] == pytest.approx(float(expected.max()), abs=1e-4)
    for token, said in zip(answer.ids, content, strict=True):
        piece = model.tokenizer.convert_ids_to_tokens(token)
        known = f"<0x{said['bytes'][0]:02X}>" if len(said["bytes"]) == 1 else None
        assert piece in (known, said["token"].replace(" ", "\u2581"))


def test_evidence_says_what_the_answers_own_says(
    live: Live, model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    own = model.answer(picture(4), "What?", "ritual", max_new_tokens=4, evidence=True).evidence
    body = body_of(picture(4), "What?", method="ritual", max_tokens=4, evidence=True)
    choice = live.http.post("/v1/chat/completions", json=body).json()["choices"][0]
    said = choice["secondsight"]["evidence"]
    assert own is not None
    for mine, theirs in zip(own, said, strict=True):
        assert theirs["id"] == mine.id
        assert theirs["probability"] == pytest.approx(mine.probability, abs=1e-4)
        views = {view["view"]: view["probability"] for view in theirs["views"]}
        assert views == pytest.approx(dict(mine.view_probabilities), abs=1e-4)
        assert theirs["plausible"] == mine.plausible
        assert theirs["regular"]["id"] == mine.regular_id
        assert theirs["changed"] == mine.changed


@contextmanager
def before_each_pass(model: secondsight.Model, act: Callable[[int], None]) -> Iterator[None]:
    """Does something before every pass of the model; it is told how many rows are read."""

    def hook(module: Any, args: Any, kwargs: Any) -> None:
        act(len(kwargs["input_ids"]))

    handle = model.hf_model.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def test_one_that_memory_does_not_hold_ends_alone(
    live: Live, model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    """Three rows do not fit: who needs three fails, all others are answered as ever."""

    def crowded(rows: int) -> None:
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=live.url, timeout=60, trust_env=False) as client:
            small = [body_of(picture(n), "What?", method="vcd", max_tokens=5) for n in range(5)]
            large = body_of(picture(1), "What?", method="ritual+vcd", logprobs=True, max_tokens=5)
            asked = [*small[:3], large, *small[3:]]
            sent = (client.post("/v1/chat/completions", json=body) for body in asked)
            return list(await asyncio.gather(*sent))

    with before_each_pass(model, crowded):
        answered = asyncio.run(all_of_them())
    failed = answered.pop(3)
    assert failed.status_code == 503
    assert failed.json()["error"]["code"] == "out_of_memory"
    assert failed.headers["x-should-retry"] == "false"
    for number, response in enumerate(answered):
        alone = model.answer(picture(number), "What?", "vcd", max_new_tokens=5)
        assert text_of(response) == alone.text
    # The engine had cut down how much it writes at once; it tries more again, little by little.
    engine = model.runner.engine
    assert engine.most is not None
    before = engine.most
    assert before < 4
    for _ in range(8):
        assert live.ask(max_tokens=1).status_code == 200
    assert engine.most == before + 1
    engine.most = 4


@pytest.mark.parametrize("stream", [True, False])
def test_who_goes_away_stops_the_engine_within_two_tokens(
    live: Live, model: secondsight.Model, stream: bool
) -> None:
    passes = [0]

    def slowly(rows: int) -> None:
        passes[0] += 1
        time.sleep(0.05)

    data = json.dumps(body_of(None, "What is it?", max_tokens=400, stream=stream)).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with before_each_pass(model, slowly):
        place = ("127.0.0.1", int(live.url.rpartition(":")[2]))
        with socket.create_connection(place) as connection:
            connection.sendall(head.encode() + data)
            if stream:
                assert connection.recv(10) == b"HTTP/1.1 2"
            while passes[0] < 4:
                time.sleep(0.005)
        left = passes[0]
        while live.service.line.expected:
            time.sleep(0.005)
        assert passes[0] <= left + 2
    assert live.backend.load().running == 0


def test_what_the_model_refuses_is_the_clients_fault(live: Live) -> None:
    long = live.http.post("/v1/chat/completions", json=body_of(None, "long " * 2000))
    assert long.status_code == 400
    assert long.json()["error"]["code"] == "context_length_exceeded"
    without = live.http.post("/v1/chat/completions", json=body_of(None, "What?", method="vcd"))
    assert without.status_code == 400
    assert without.json()["error"]["code"] == "invalid_image"


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 3)])
def test_narrow_images(live: Live, size: tuple[int, int]) -> None:
    for method in ("regular", "ritual:transform=blur", "ritual:transform=crop", "vcd"):
        body = body_of(Image.new("RGB", size, "blue"), "What?", method=method, max_tokens=2)
        assert live.http.post("/v1/chat/completions", json=body).status_code == 200


def test_the_traces_attention(live: Live, picture: Callable[..., Image.Image]) -> None:
    body = body_of(picture(1), "What is it?", method="ritual", max_tokens=3, format="attention")
    trace = live.http.post("/v1/secondsight/trace", json=body).json()
    assert len(trace["tokens"]) == 3
    assert [view["view"] for view in trace["attention"]] == ["original", "transformed"]
    first = trace["attention"][0]
    assert first["grid"] == [3, 3]
    assert [len(row) for row in first["mean"]] == [9, 9, 9]
    assert first["layers"]["shape"][1:] == [3, 9]
    assert trace["views"][0]["images"][-1]["uri"].startswith("data:image/")


def test_a_trace_ends_when_its_client_goes_away(
    live: Live, model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    """While it writes within two tokens; while it reads all that again, before the next layer."""
    body = body_of(picture(1), "What is it?", method="ritual", max_tokens=60)
    whole = _layers_until_gone(live, model, body, leave_at=None)
    for leave_at in (whole // 3, whole - 2):
        layers = _layers_until_gone(live, model, body, leave_at=leave_at)
        assert layers <= leave_at + 2 * _layers_of_a_token(model)
    assert live.service.tracing == live.service.pixels.used == 0
    again = {**body, "max_tokens": 2}
    assert live.http.post("/v1/secondsight/trace", json=again).status_code == 200


def _layers_of_a_token(model: secondsight.Model) -> int:
    """How many layers a token of two views takes, read in a pass each at the worst."""
    return 2 * int(model.hf_model.config.text_config.num_hidden_layers)


def _layers_until_gone(
    live: Live, model: secondsight.Model, body: dict[str, Any], *, leave_at: int | None
) -> int:
    """How many layers a trace has read, where its client goes away at one of them."""
    read, at = [0], threading.Event()

    def count(*_: Any) -> None:
        read[0] += 1
        if read[0] == leave_at:
            at.set()
            time.sleep(0.5)  # so long may the news take
        elif at.is_set():
            time.sleep(0.05)

    language = language_layers(model.hf_model)
    assert language is not None
    hooks = [layer.register_forward_hook(count) for layer in language.modules]
    try:
        if leave_at is None:
            assert live.http.post("/v1/secondsight/trace", json=body).status_code == 200
            return read[0]
        data = json.dumps(body).encode()
        head = (
            "POST /v1/secondsight/trace HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        place = ("127.0.0.1", int(live.url.rpartition(":")[2]))
        with socket.create_connection(place) as connection:
            connection.sendall(head.encode() + data)
            assert at.wait(60)
        while live.service.tracing:
            time.sleep(0.005)
        return read[0]
    finally:
        for hook in hooks:
            hook.remove()


def test_the_provenance_makes_the_answer_again(
    live: Live, model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    """From what stands in it, and the images, `model.answer` makes the same tokens."""
    first, second = picture(1), picture(2)
    shown = [{"type": "image_url", "image_url": {"url": data_url(one)}} for one in (first, second)]
    body = {
        "model": "tiny@ritual:alpha=2.5",
        "messages": [
            {"role": "system", "content": "You see well."},
            {"role": "user", "content": [shown[0], {"type": "text", "text": "What is it?"}]},
            {"role": "assistant", "content": "A thing."},
            {"role": "user", "content": [shown[1], {"type": "text", "text": "And this?"}]},
        ],
        "temperature": 0.9,
        "top_p": 0.8,
        "top_k": 40,
        "repetition_penalty": 1.2,
        "share_views": True,
        "max_tokens": 12,
        "stop": ["zzz"],
    }
    [choice] = live.http.post("/v1/chat/completions", json=body).json()["choices"]
    told = choice["secondsight"]["provenance"]
    assert told["seed"] == choice["secondsight"]["seed"]

    digest = hashlib.blake2b(digest_size=16)
    for image in (first, second):
        digest.update(repr(image.size).encode() + image.convert("RGB").tobytes())
    assert told["image"] == digest.hexdigest()
    assert told["method"]["spec"] == "ritual:alpha=2.5"
    assert told["method"]["alpha"] == 2.5
    assert [view["view"] for view in told["views"]] == ["original", "transformed"]
    assert told["views"][1]["choice"] in TRANSFORMS
    assert told["versions"] == {
        "secondsight": version("secondsight"),
        "transformers": version("transformers"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    assert told["model"] == "tiny"
    assert told["dtype"] == "float32"

    sample = Sample(
        (first, second),
        told["question"],
        history=tuple(Turn(**turn) for turn in told["history"]),
        system=told["system"],
        places=tuple(told["image_turns"]),
    )
    settings = Settings(**told["settings"], seed=told["seed"])
    request = Request(
        sample, told["method"]["spec"], settings, share_views=told.get("share_views", False)
    )
    [(_, again)] = model.answers([request])
    assert again.text == choice["message"]["content"]
    assert [view.get("choice") for view in again.provenance["views"]] == [
        view.get("choice") for view in told["views"]
    ]


def test_photographs_that_lie_on_their_side(
    live: Live, model: secondsight.Model, picture: Callable[..., Image.Image]
) -> None:
    """They are turned upright once, as where `model.answer` opens the file."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(3).resize((60, 30)).save(file, "PNG", exif=exif)
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "What is it?"},
    ]
    body = {"model": "tiny", "messages": [{"role": "user", "content": parts}], "max_tokens": 8}
    [choice] = live.http.post("/v1/chat/completions", json=body).json()["choices"]
    alone = model.answer(file.getvalue(), "What is it?", max_new_tokens=8)
    assert choice["secondsight"]["provenance"]["image"] == alone.provenance["image"]
    assert choice["message"]["content"] == alone.text


@pytest.fixture(scope="module")
def scenes() -> Iterator[Live]:
    """The shipped model, whose answers on scenes can be checked."""
    with serving() as start:
        backend = EngineBackend(secondsight.load(), batch_size=4)
        yield start(backend, queue=100)
        backend.close()


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """One whose description holds a number that the model doubts."""
    return list(sticker_images("conflict").values())[4]()


def told(scenes: Live, image: Image.Image, **fields: Any) -> tuple[str, dict[str, Any]]:
    """A description and what is said about it."""
    body = body_of(image, "Describe this image in detail.", temperature=0, **fields)
    response = scenes.http.post("/v1/chat/completions", json=body)
    return text_of(response), response.json()["choices"][0]["secondsight"]


def test_doubts_are_the_answers_own(scenes: Live, scene: Image.Image) -> None:
    text, facts = told(scenes, scene, doubts=True)
    alone = secondsight.load().answer(scene, "Describe this image in detail.", doubts=True)
    assert alone.doubts
    assert text == alone.text
    assert facts["repairs"] == []
    for found, expected in zip(facts["doubts"], alone.doubts, strict=True):
        assert (found["text"], found["start"]) == (expected.text, expected.start)
        assert found["probability"] == pytest.approx(expected.probability, abs=1e-4)
    assert any(one["probability"] > facts["doubtful"] for one in facts["doubts"])
    assert "doubts" not in told(scenes, scene)[1]


@pytest.mark.parametrize("method", ["check", "check:repair=drop+ritual", "check:repair=constrain"])
def test_a_checked_answer_is_streamed_as_it_is_given(
    scenes: Live, scene: Image.Image, method: str
) -> None:
    text, facts = told(scenes, scene, method=method, seed=3)
    alone = secondsight.load().answer(scene, "Describe this image in detail.", method, seed=3)
    assert text == alone.text
    assert [one["action"] for one in facts["repairs"]] == [one.action for one in alone.repairs]
    assert facts["repairs"]
    body = body_of(scene, "Describe this image in detail.", temperature=0, method=method, seed=3)
    response = scenes.http.post("/v1/chat/completions", json={**body, "stream": True})
    assert streamed(response.text) == text


def test_tokens_of_a_repaired_answer_have_no_logprobs(scenes: Live, scene: Image.Image) -> None:
    for field in ("logprobs", "evidence"):
        body = body_of(scene, "Describe this image.", method="check", **{field: True})
        response = scenes.http.post("/v1/chat/completions", json=body)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == field
    text, facts = told(scenes, scene, method="check:repair=none", evidence=True, logprobs=True)
    assert text
    assert facts["evidence"]
    assert facts["doubts"]
