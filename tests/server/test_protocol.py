"""OpenAI's protocol, byte by byte, with an engine that writes by rote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secondsight.server.config import Limits

from .conftest import Live, Serve, data_url, with_image
from .fake import FakeBackend


@pytest.fixture
def live(shared: Live) -> Live:
    return shared


def chunks(text: str) -> list[dict[str, Any]]:
    """The events of a stream, which must end as it should."""
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def test_a_whole_answer(live: Live) -> None:
    response = live.ask("one two")
    body = response.json()
    assert response.status_code == 200
    assert response.headers["x-request-id"].startswith("req_")
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    [choice] = body["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "regular seed0 images0 one two",
        "refusal": None,
    }
    assert choice["finish_reason"] == "stop"
    assert choice["logprobs"] is None
    assert body["usage"]["completion_tokens"] == 5
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 5


def test_a_stream(live: Live) -> None:
    response = live.ask("one", stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    found = chunks(response.text)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    pieces = [one["choices"][0]["delta"].get("content", "") for one in found]
    assert "".join(pieces) == "regular seed0 images0 one"
    assert [one["choices"][0]["finish_reason"] for one in found[:-1]] == [None] * (len(found) - 1)
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
    assert len({one["id"] for one in found}) == 1
    assert not any("usage" in one for one in found)


def test_usage_at_a_streams_end(live: Live) -> None:
    found = chunks(live.ask(stream=True, stream_options={"include_usage": True}).text)
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["completion_tokens"] == 6
    assert all(one["usage"] is None for one in found[:-1])


def test_images_are_counted_in_the_usage(live: Live) -> None:
    body = live.http.post(
        "/v1/chat/completions",
        json={"model": "tiny", "messages": with_image(data_url(), data_url(kind="JPEG"))},
    ).json()
    assert "images2" in body["choices"][0]["message"]["content"]
    assert body["usage"]["prompt_tokens_details"]["image_tokens"] == 32


def test_several_draws_have_several_seeds(live: Live) -> None:
    body = live.ask("x", n=3, seed=7, temperature=1).json()
    texts = [choice["message"]["content"] for choice in body["choices"]]
    assert texts == [f"regular seed{seed} images0 x" for seed in (7, 8, 9)]
    assert [choice["secondsight"]["seed"] for choice in body["choices"]] == [7, 8, 9]


def test_what_is_drawn_without_a_seed_is_drawn_anew(live: Live) -> None:
    seeds = {live.ask(temperature=1).json()["choices"][0]["secondsight"]["seed"] for _ in "ab"}
    assert len(seeds) == 2
    assert live.ask().json()["choices"][0]["secondsight"]["seed"] == 0


def test_logprobs(live: Live) -> None:
    [choice] = live.ask("x", logprobs=True, top_logprobs=2).json()["choices"]
    first = choice["logprobs"]["content"][0]
    assert first["token"] == "regular"
    assert bytes(first["bytes"]) == b"regular"
    assert [one["token"] for one in first["top_logprobs"]] == ["regular", "x"]
    streamed = chunks(live.ask("x", logprobs=True, stream=True).text)
    said = [one["choices"][0]["logprobs"] for one in streamed]
    tokens = [token["token"] for part in said if part for token in part["content"]]
    assert "".join(tokens) == "regular seed0 images0 x"


def test_evidence_comes_with_its_tokens(live: Live) -> None:
    [choice] = live.ask("x", method="vcd", evidence=True).json()["choices"]
    views = [view["view"] for view in choice["secondsight"]["evidence"][0]["views"]]
    assert views == ["original", "noised"]
    streamed = chunks(live.ask("x", method="vcd", evidence=True, stream=True).text)
    pieces = [one["choices"][0].get("secondsight", {}).get("evidence", []) for one in streamed]
    assert sum(map(len, pieces)) == 4


def test_the_method_by_field_or_by_name(live: Live) -> None:
    by_field = live.ask("x", method="ritual:alpha=2").json()
    by_name = live.ask("x", model="tiny@ritual:alpha=2").json()
    assert by_name["model"] == "tiny@ritual:alpha=2"
    for body in (by_field, by_name):
        assert body["choices"][0]["message"]["content"].startswith("ritual:alpha=2")
        assert body["choices"][0]["secondsight"]["method"] == "ritual:alpha=2"
    assert live.ask(model="tiny@vcd", method="vcd").status_code == 200
    differing = live.ask(model="tiny@vcd", method="ritual")
    assert differing.status_code == 400
    assert differing.json()["error"]["param"] == "method"


def test_a_comparison_is_a_choice_per_method(live: Live) -> None:
    body = {
        "model": "tiny",
        "messages": with_image(data_url()),
        "methods": ["regular", "vcd", "apc"],
    }
    answer = live.http.post("/v1/secondsight/compare", json=body).json()
    facts = [choice["secondsight"] for choice in answer["choices"]]
    assert [one["method"] for one in facts] == ["regular", "vcd", "apc"]
    assert [one["control"] for one in facts] == [False, False, True]
    streamed = live.http.post("/v1/secondsight/compare", json={**body, "stream": True})
    assert {one["choices"][0]["index"] for one in chunks(streamed.text)} == {0, 1, 2}


def test_a_trace(live: Live) -> None:
    body = {"model": "tiny", "messages": with_image(data_url()), "layers": "0,2-3"}
    answer = live.http.post("/v1/secondsight/trace", json=body)
    assert answer.json() == {"layers": "0,2-3"}
    page = live.http.post("/v1/secondsight/trace", json={**body, "format": "html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "attachment" in page.headers["content-disposition"]


def test_scenes_and_what_is_in_them(live: Live) -> None:
    scene = live.http.get("/v1/secondsight/scenes/4").json()
    assert scene == live.http.get("/v1/secondsight/scenes/4").json()
    answer = live.http.post(
        "/v1/chat/completions", json={"model": "tiny", "messages": with_image(scene["image"])}
    )
    assert "images1" in answer.text
    assert {one["answer"] for one in scene["questions"]} == {"yes", "no"}
    names = [one["name"] for one in scene["objects"]]
    texts = [f"A {names[0]}.", "Two puppies\U0001f436 and a zebra.", ""]
    path = "/v1/secondsight/scenes/4/mentions"
    found = live.http.post(path, json={"texts": texts}).json()["texts"]
    assert [(one["name"], one["there"]) for one in found[0]] == [(names[0], True)]
    assert [one["name"] for one in found[1]] == ["dog", "zebra"]
    assert [texts[1][one["start"] : one["end"]] for one in found[1]] == ["puppies", "zebra"]
    assert found[2] == []
    for index, status in (("-1", 404), ("1000", 404), ("9" * 50, 404), ("x", 400), ("1.5", 400)):
        assert live.http.get(f"/v1/secondsight/scenes/{index}").status_code == status
    for texts in ([1], ["x"] * 33, "x", None):
        assert live.http.post(path, json={"texts": texts}).status_code == 400


def test_the_models(live: Live) -> None:
    listed = live.http.get("/v1/models").json()
    names = [model["id"] for model in listed["data"]]
    assert names[0] == "tiny"
    assert {"tiny@regular", "tiny@ritual", "tiny@vcd", "tiny@apc"} <= set(names)
    one = live.http.get("/v1/models/tiny%40ritual%3Aalpha%3D2").json()
    assert one["secondsight"]["method"] == "ritual:alpha=2"
    assert one["secondsight"]["defaults"]["temperature"] == 0
    assert live.http.get("/v1/models/gpt-4").status_code == 404
    assert live.http.get("/v1/models/tiny@nothing").status_code == 400


def test_methods_that_load_another_model_are_for_whoever_runs_the_server(serve: Serve) -> None:
    live = serve(limits=Limits(helpers=True))
    names = [model["id"] for model in live.http.get("/v1/models").json()["data"]]
    assert "tiny@agla" in names
    assert live.ask(method="agla").status_code == 200
    assert live.ask(method="agla:matcher=evil/model").status_code == 400
    listed = serve().http.get("/v1/models").json()["data"]
    assert "tiny@agla" not in [model["id"] for model in listed]


def test_methods_that_are_combined(live: Live) -> None:
    choice = live.ask("x", method="vcd:alpha=2+m3id").json()["choices"][0]
    assert choice["secondsight"]["method"] == "vcd:alpha=2+m3id"
    one = live.http.get("/v1/models/tiny%40vcd%2Bm3id").json()["secondsight"]
    assert one["name"] == "vcd+m3id"
    assert "vcd.alpha" in [parameter["name"] for parameter in one["parameters"]]
    assert 'method="combination"' in live.http.get("/metrics").text


def test_no_path_of_the_machine_is_told(live: Live) -> None:
    for response in (live.ask(), live.http.get("/v1/secondsight/server")):
        assert "secret" not in response.text
        assert "tiny" in response.text


def test_tokens_are_cut_to_the_servers_limit(live: Live) -> None:
    answer = live.ask("one two", max_tokens=32768)
    assert answer.status_code == 200
    [choice] = live.ask("one two", max_completion_tokens=2).json()["choices"]
    assert choice["finish_reason"] == "length"
    assert live.ask(max_tokens=3, max_completion_tokens=4).status_code == 400


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"min_p": 0.1}, "min_p"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"logit_bias": {"1": 5}}, "logit_bias"),
    ({"presence_penalty": 0.5}, "presence_penalty"),
    ({"num_beams": 0}, "num_beams"),
    ({"num_beams": 1000}, "num_beams"),
    ({"num_beams": 2, "n": 2}, "n"),
    ({"early_stopping": "maybe"}, "early_stopping"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": "0.5"}, "temperature"),
    ({"temperature": 2.5}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": True}, "n"),
    ({"n": 1000}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"stop": [""]}, "stop[0]"),
    ({"seed": 2**64}, "seed"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"method": "nothing"}, "method"),
    ({"method": "ritual:alpha=x"}, "method"),
    ({"method": "/etc/passwd"}, "method"),
    ({"method": "lcd:model=/etc"}, "method"),
    ({"method": "vcd+lcd:model=evil/model"}, "method"),
    ({"model": "tiny@lcd:alpha=1,model=evil/model"}, "model"),
    ({"method": "agla"}, "method"),
    ({"method": "agla:matcher=evil/model"}, "method"),
    ({"method": "vcd+agla"}, "method"),
    ({"model": "gpt-4"}, "model"),
    ({"model": "tiny@nothing"}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": "x", "name": "me"}]}, "messages[0].name"),
    (
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "system", "content": "b"},
                {"role": "user", "content": "c"},
            ]
        },
        "messages[1].role",
    ),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=lambda one: str(one)[:40])
def test_what_is_not_supported_is_refused_by_name(
    shared: Live, fields: dict[str, Any], param: str
) -> None:
    response = shared.ask(**fields)
    error = response.json()["error"]
    assert response.status_code == (404 if fields.get("model") == "gpt-4" else 400)
    assert error["param"] == param
    assert error["message"]
    assert set(error) == {"message", "type", "param", "code"}


NEUTRAL: list[dict[str, Any]] = [
    {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "tools": []},
    {"response_format": {"type": "text"}, "user": "u", "n": None, "stop": None, "seed": None},
    {"store": False, "service_tier": "auto", "metadata": {"a": "b"}, "tool_choice": "none"},
    {"top_k": -1, "stream": None, "logprobs": None, "modalities": ["text"], "num_beams": 1},
]


@pytest.mark.parametrize("fields", NEUTRAL, ids=str)
def test_values_that_ask_for_nothing_are_taken(shared: Live, fields: dict[str, Any]) -> None:
    assert shared.ask(**fields).status_code == 200


def test_a_message_that_was_an_answer_can_be_sent_back(live: Live) -> None:
    answer = live.ask("x").json()["choices"][0]["message"]
    messages = [
        {"role": "user", "content": "x"},
        {**answer, "annotations": [], "tool_calls": None},
        {"role": "user", "content": "y"},
    ]
    assert live.ask(messages=messages).status_code == 200


def test_errors_of_the_engine(serve: Serve) -> None:
    def fail(generation: Any) -> None:
        if generation.sample.question == "crash":
            raise RuntimeError("a client's secret words")
        if generation.sample.question == "memory":
            raise MemoryError

    live = serve(FakeBackend(fail=fail))
    refused, crashed, full = (live.ask(question) for question in ("refuse", "crash", "memory"))
    assert (refused.status_code, crashed.status_code, full.status_code) == (400, 500, 503)
    assert crashed.headers["x-should-retry"] == "false"
    assert "secret words" not in crashed.text
    assert crashed.headers["x-request-id"] in crashed.json()["error"]["message"]
    assert live.ask().status_code == 200


def test_an_error_after_the_first_byte_is_an_event(serve: Serve) -> None:
    count = [0]

    def fail(generation: Any) -> None:
        count[0] += 1
        if count[0] == 3:
            raise RuntimeError

    live = serve(FakeBackend(fail=fail))
    response = live.ask("one two three", stream=True)
    assert response.status_code == 200
    assert response.text.count("data: ") == 4  # the role, two words, the error
    last = json.loads(response.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "internal_error"


def test_nothing_there_and_other_verbs(live: Live) -> None:
    missing, verb = live.http.get("/v1/nothing"), live.http.get("/v1/chat/completions")
    assert (missing.status_code, verb.status_code) == (404, 405)
    for response in (missing, verb):
        assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"[]"),
        *(b'{"model": NaN}', b'{"a":' * 20_000, b'{"model": "\\ud800"}', b'"' + b"a" * 1000),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_broken_json(shared: Live, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    response = shared.http.post("/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_another_content_type(live: Live) -> None:
    for kind in ("text/plain", "multipart/form-data", ""):
        response = live.http.post(
            "/v1/chat/completions", content=b"{}", headers={"content-type": kind}
        )
        assert response.status_code == 415
