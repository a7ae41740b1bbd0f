"""The OpenAPI document: every route, what it takes, what it answers."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from secondsight import __version__
from secondsight.server.config import ServerConfig
from secondsight.server.schemas import (
    ChatRequest,
    CompareRequest,
    MentionsRequest,
    TraceRequest,
)

_REQUESTS: Final[tuple[type[BaseModel], ...]] = (
    ChatRequest,
    CompareRequest,
    MentionsRequest,
    TraceRequest,
)
_REF: Final = "#/components/schemas/{model}"

_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

_COMPLETION: Final = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "system_fingerprint": {"type": "string"},
        "service_tier": {"type": "string"},
        "choices": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "message", "finish_reason"],
                "properties": {
                    "index": {"type": "integer"},
                    "message": {
                        "type": "object",
                        "required": ["role", "content"],
                        "properties": {
                            "role": {"const": "assistant"},
                            "content": {"type": "string"},
                            "refusal": {"type": "null"},
                        },
                    },
                    "finish_reason": {"enum": ["stop", "length"]},
                    "stop_reason": {"type": ["string", "null"]},
                    "logprobs": {"type": ["object", "null"]},
                    "secondsight": {
                        "type": "object",
                        "description": "Method, seed, provenance, evidence, doubts and repairs.",
                    },
                },
            },
        },
        "usage": {
            "type": "object",
            "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
            "properties": {
                "prompt_tokens": {"type": "integer"},
                "completion_tokens": {"type": "integer"},
                "total_tokens": {"type": "integer"},
                "prompt_tokens_details": {"type": "object"},
            },
        },
    },
}

_MODEL: Final = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
        "root": {"type": "string"},
        "secondsight": {"type": "object"},
    },
}

_FAILURES: Final = {
    400: "Something in the request cannot be; `param` says what.",
    401: "No API key, or a wrong one.",
    403: "A Host or an Origin that is not allowed.",
    404: "Another model, or nothing at this address.",
    405: "Another HTTP method.",
    408: "The body came too slowly.",
    413: "The body is too long.",
    415: "The body is not said to be JSON.",
    429: "The line is full; Retry-After says when to come again.",
    503: "Loading, stopping, or out of memory.",
    504: "The request's time was over.",
}


def document(config: ServerConfig) -> dict[str, Any]:
    """The document for a server."""
    schemas: dict[str, Any] = {"Error": _ERROR, "ChatCompletion": _COMPLETION, "Model": _MODEL}
    for model in _REQUESTS:
        schema = model.model_json_schema(ref_template=_REF)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    completion = {"application/json": {"schema": _ref("ChatCompletion")}}
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    anything = {"application/json": {"schema": {"type": "object"}}}
    report = {"text/html": {"schema": {"type": "string"}}}
    text = {"text/plain": {"schema": {"type": "string"}}}
    models = {
        "type": "object",
        "required": ["object", "data"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": _ref("Model")},
        },
    }
    name = {"name": "model_id", "in": "path", "required": True, "schema": {"type": "string"}}
    index = {"name": "index", "in": "path", "required": True, "schema": {"type": "integer"}}
    naming = ("MentionsRequest", anything)
    paths = {
        "/v1/chat/completions": _post(
            "Answer a conversation with images", "ChatRequest", {**completion, **stream}
        ),
        "/v1/secondsight/compare": _post(
            "Answer with several methods at once", "CompareRequest", {**completion, **stream}
        ),
        "/v1/secondsight/trace": _post(
            "Answer, and record everything on the way", "TraceRequest", {**anything, **report}
        ),
        "/v1/models": _get("The served model, and the same with each method", _json(models)),
        "/v1/models/{model_id}": {
            **_get("One of them", _json(_ref("Model")), failures=(404,)),
            "parameters": [name],
        },
        "/v1/secondsight/server": _get("Limits, defaults and the loaded model", anything),
        "/v1/secondsight/scenes/{index}": {
            **_get("A drawn scene whose truth is known", anything, failures=(400, 404)),
            "parameters": [index],
        },
        "/v1/secondsight/scenes/{index}/mentions": {
            **_post("Which objects texts name, and whether the scene has them", *naming),
            "parameters": [index],
        },
        "/health": _get("Whether the process is there", anything),
        "/ready": _get("Whether requests are let in", anything, failures=(503,)),
        "/metrics": _get("Counters for Prometheus", text),
    }
    result: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "secondsight",
            "version": __version__,
            "description": "Vision-language models with decoding methods that make them "
            "hallucinate less, in OpenAI's protocol.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if config.keys:
        key = {"type": "http", "scheme": "bearer"}
        result["components"] = {"schemas": schemas, "securitySchemes": {"key": key}}
        result["security"] = [{"key": []}]
    return result


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=name)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _failed(codes: tuple[int, ...]) -> dict[str, Any]:
    return {
        str(code): {"description": _FAILURES[code], "content": _json(_ref("Error"))}
        for code in codes
    }


def _post(summary: str, request: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": _json(_ref(request))},
            "responses": {
                "200": {"description": "The answer.", "content": content},
                **_failed(tuple(_FAILURES)),
            },
        }
    }


def _get(
    summary: str, content: dict[str, Any], *, failures: tuple[int, ...] = ()
) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary,
            "responses": {
                "200": {"description": "It.", "content": content},
                **_failed((401, 403, 405, *failures)),
            },
        }
    }
