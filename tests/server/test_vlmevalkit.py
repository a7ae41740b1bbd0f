"""What VLMEvalKit's client sends (`run.py --base-url`), and its class in docs/integrations.md.

The bodies are those of `vlmeval.api.LMDeployAPI` at commit e8e78f05 (18 August 2026), read there:
the message's parts in order, images as JPEG in data URLs with whatever the dataset says of them,
one choice, the sampling options and the entries of ``--extra-body`` beside them.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

import secondsight
from secondsight.server.config import Limits
from secondsight.server.engine import EngineBackend
from support import markdown

from .conftest import Live, serving

QUESTION = "Is there a dog in the image? Please answer yes or no."


@pytest.fixture(scope="module")
def live(model: secondsight.Model) -> Iterator[Live]:
    with serving() as start:
        backend = EngineBackend(model, batch_size=4)
        yield start(backend, queue=100, limits=Limits(new_tokens=24))
        backend.close()
    model.runner.engine.most = model.runner.engine.joins = None


def jpeg(path: Path) -> bytes:
    """An image as VLMEvalKit encodes it."""
    buffer = io.BytesIO()
    Image.open(path).save(buffer, format="JPEG")
    return buffer.getvalue()


def body_of(message: list[dict[str, Any]], model: str, **options: Any) -> str:
    """The body for a message of VLMEvalKit's."""
    parts: list[dict[str, Any]] = []
    for part in message:
        if part["type"] == "text":
            parts.append({"type": "text", "text": part["value"]})
            continue
        url = f"data:image/jpeg;base64,{base64.b64encode(jpeg(part['value'])).decode()}"
        more = {key: value for key, value in part.items() if key not in ("type", "value")}
        parts.append({"type": "image_url", "image_url": {"url": url, **more}})
    messages = [{"role": "user", "content": parts}]
    return json.dumps({"model": model, "messages": messages, "n": 1, **options})


def post(live: Live, body: str) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-admin"}
    response = live.http.post("/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == 200, response.text
    return response


@pytest.fixture
def message(tmp_path: Path, picture: Callable[..., Image.Image]) -> list[dict[str, Any]]:
    """A message of VLMEvalKit's: an image's path, with limits that datasets give, and a text."""
    path = tmp_path / "0.png"
    picture(1).resize((120, 110)).save(path)
    return [
        {"type": "image", "value": str(path), "min_pixels": 1024, "max_pixels": 2048},
        {"type": "text", "value": QUESTION},
    ]


@pytest.mark.parametrize("method", ["regular", "ritual:alpha=2"])
@pytest.mark.parametrize("stream", [False, True])
def test_its_requests_are_answered_as_the_library_does(
    method: str,
    stream: bool,
    live: Live,
    model: secondsight.Model,
    message: list[dict[str, Any]],
) -> None:
    """With 2**15 tokens asked for, its default, which are cut to what the server allows."""
    options: dict[str, Any] = {"max_tokens": 2**15, "temperature": 0.0, "seed": 3}
    if stream:
        options["stream"] = True
    response = post(live, body_of(message, f"tiny@{method}", **options))
    if stream:
        lines = [line[5:].strip() for line in response.text.splitlines() if line[:5] == "data:"]
        assert lines.pop() == "[DONE]"
        chunks = [json.loads(line)["choices"] for line in lines]
        text = "".join(one[0]["delta"].get("content") or "" for one in chunks if one)
    else:
        text = response.json()["choices"][0]["message"]["content"]
    image = jpeg(message[0]["value"])
    assert text == model.answer(image, QUESTION, method, max_new_tokens=24, seed=3).text
    assert text


def test_the_method_may_be_in_the_extra_body(
    live: Live, model: secondsight.Model, message: list[dict[str, Any]]
) -> None:
    extra = {"method": "vcd:alpha=2", "seed": 1, "top_k": 5, "repetition_penalty": 1.1}
    options = {"max_tokens": 12, "temperature": 0.7, "top_p": 0.9, **extra}
    found = post(live, body_of(message, "tiny", **options)).json()["choices"][0]
    expected = model.answer(
        jpeg(message[0]["value"]),
        QUESTION,
        "vcd:alpha=2",
        max_new_tokens=12,
        temperature=0.7,
        top_p=0.9,
        top_k=5,
        repetition_penalty=1.1,
        seed=1,
    )
    assert found["message"]["content"] == expected.text
    assert found["secondsight"]["method"] == "vcd:alpha=2"


def test_a_text_alone(live: Live) -> None:
    """VLMEvalKit asks whether a model is there by saying hello."""
    hello = [{"type": "text", "value": "hello"}]
    answer = post(live, body_of(hello, "tiny@regular", max_tokens=2, temperature=0.0)).json()
    assert answer["choices"][0]["message"]["content"]


def test_the_class_of_the_page(
    model: secondsight.Model, message: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for the two names of VLMEvalKit's that it imports."""
    [block] = [one for one in markdown.blocks("docs/integrations.md") if one.kind == "python"]
    config, base = ModuleType("vlmeval.config"), ModuleType("vlmeval.vlm.base")
    models: dict[str, Callable[[], Any]] = {}
    vars(config)["supported_VLM"], vars(base)["BaseModel"] = models, object
    for stand_in in (ModuleType("vlmeval"), config, ModuleType("vlmeval.vlm"), base):
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    asked: list[str] = []
    monkeypatch.setattr(secondsight, "load", lambda name: asked.append(name) or model)
    exec(compile(block.text, str(block), "exec"), {"__name__": "secondsight_run"})

    made = models["secondsight-ritual"]()
    assert asked == ["llava-hf/llava-1.5-7b-hf"]
    made.settings["max_new_tokens"] = 12
    message[1:1] = [{"type": "text", "value": "Look."}]
    expected = model.answer(
        message[0]["value"], f"Look.\n{QUESTION}", "ritual", max_new_tokens=12, seed=0
    )
    assert made.generate_inner(message, dataset="POPE") == expected.text
    hello = model.answer(None, "hello", max_new_tokens=12)
    assert made.generate_inner([{"type": "text", "value": "hello"}]) == hello.text
