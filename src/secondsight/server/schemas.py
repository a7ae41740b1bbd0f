"""Requests as clients send them: every field known by name, its kind and range checked.

What has no effect here is refused by name rather than ignored, unless its value asks for nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from secondsight.server.problems import ApiError, bad_request

_STRICT: Final = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_TEXT: Final = 1_000_000


class _Part(BaseModel):
    # Clients mark parts with keys of their own, such as a prompt_cache_breakpoint.
    model_config = ConfigDict(strict=True, extra="ignore")


class TextPart(_Part):
    """A piece of a message's text."""

    type: Literal["text"]
    text: Annotated[str, StringConstraints(max_length=_TEXT)]


class ImageURL(_Part):
    """Where an image is: a data URL, or an address where the server allows its domain."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(_Part):
    """An image of a message."""

    type: Literal["image_url"]
    image_url: ImageURL


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    """One message of the conversation."""

    model_config = _STRICT

    role: Literal["system", "developer", "user", "assistant"]
    content: (
        Annotated[str, StringConstraints(max_length=_TEXT)]
        | Annotated[list[ContentPart], Field(max_length=1000)]
    )
    # What an earlier answer carries beside its text is sent back by clients; all of it is empty.
    refusal: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None
    name: None = None


class StreamOptions(BaseModel):
    """How a stream ends."""

    model_config = _STRICT

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]


MOST_BEAMS: Final = 16
"""The most hypotheses of a search: each takes the memory of an answer."""


class Asked(BaseModel):
    """What a chat completion, a comparison and a trace have in common."""

    model_config = _STRICT

    model: Annotated[str, StringConstraints(max_length=1000)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=500)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    share_views: bool = False
    num_beams: Annotated[int, Field(ge=1, le=MOST_BEAMS)] | None = None
    length_penalty: Annotated[float, Field(ge=-10, le=10)] | None = None
    early_stopping: Literal[True, False, "never"] | None = None
    # Fields of OpenAI's that mean nothing here, or nothing at these values.
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    response_format: Annotated[dict[Literal["type"], Literal["text"]], Field()] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None


class ChatRequest(Asked):
    """``POST /v1/chat/completions``."""

    method: Annotated[str, StringConstraints(max_length=500)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    evidence: bool = False
    doubts: bool = False


class CompareRequest(Asked):
    """``POST /v1/secondsight/compare``: one choice for each method."""

    methods: Annotated[list[Annotated[str, StringConstraints(max_length=500)]], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    evidence: bool = False
    doubts: bool = False


class TraceRequest(Asked):
    """``POST /v1/secondsight/trace``: an answer with all that happened on the way."""

    method: Annotated[str, StringConstraints(max_length=500)] | None = None
    format: Literal["json", "html", "attention"] = "json"
    attentions: bool = True
    layers: Annotated[
        str,
        StringConstraints(pattern=r"^(all|[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$", max_length=200),
    ] = ""


class MentionsRequest(BaseModel):
    """``POST /v1/secondsight/scenes/{index}/mentions``: which objects answers name."""

    model_config = _STRICT

    texts: Annotated[
        list[Annotated[str, StringConstraints(max_length=20_000)]], Field(max_length=32)
    ]


R = TypeVar("R", bound=BaseModel)


def parsed(kind: type[R], body: bytes) -> R:
    """A request from the bytes of its body.

    Raises:
        ApiError: 400; it names the first field that is wrong, and why.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _problem(kind, error) from None
    except (RecursionError, MemoryError):
        raise bad_request(
            "The request's JSON is nested too deeply.", None, "invalid_json"
        ) from None


def _problem(kind: type[BaseModel], error: ValidationError) -> ApiError:
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    first = max(errors, key=lambda one: len(one["loc"]))  # of a union, the branch that came far
    place = [str(part) for part in first["loc"]]
    if first["type"] == "json_invalid":
        return bad_request(f"The body is not JSON: {first['msg']}.", None, "invalid_json")
    field = _field(place)
    param = field or None
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(kind.model_fields)) if len(place) == 1 else ""
        rest = f" Known: {known}." if known else ""
        return bad_request(
            f"The field {field[:100]!r} is not supported here, and nothing is ignored.{rest}",
            field[:100],
            "unsupported_field",
        )
    if first["type"] == "missing":
        return bad_request(f"The field {field!r} is missing.", param, "missing_field")
    if place and place[0] in _NOTHING_BUT:
        return bad_request(
            f"The field {place[0]!r} is supported only as {_NOTHING_BUT[place[0]]}.",
            place[0],
            "unsupported_value",
        )
    message = str(first["msg"]).removeprefix("Input ")
    if not field:
        return bad_request(f"The body {message}.", None, "invalid_value")
    return bad_request(f"The field {field[:200]!r}: {message}.", param, "invalid_value")


_NOTHING_BUT: Final = {
    "store": "false",
    "service_tier": "auto or default",
    "presence_penalty": "0 (repetition_penalty is what secondsight has)",
    "frequency_penalty": "0 (repetition_penalty is what secondsight has)",
    "logit_bias": "an empty object",
    "response_format": '{"type": "text"}',
    "modalities": '["text"]',
    "tools": "an empty list: the models answer in text",
    "tool_choice": "none or auto",
}

_UNION_TAGS: Final = ("text", "image_url", "str", "int", "float", "bool", "list", "dict")


def _field(place: list[str]) -> str:
    """Where a value stands, as ``messages[0].content[1].image_url``; without pydantic's tags."""
    text = ""
    for number, part in enumerate(place):
        if part.isdigit():
            text += f"[{part}]"
        elif "[" in part or (number and part in _UNION_TAGS and place[number - 1].isdigit()):
            continue  # the branch of a union, which is no field
        elif number and part in ("str", "constrained-str"):
            continue
        else:
            text += f".{part}" if text else part
    return text
