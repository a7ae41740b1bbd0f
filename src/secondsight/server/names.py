"""Model names: the served model, and the same with a method, ``NAME@ritual:alpha=3``."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, Final

from secondsight import methods
from secondsight.errors import MethodError
from secondsight.methods import Method
from secondsight.methods.combination import Combination
from secondsight.server.problems import ApiError, bad_request, from_user_error

_LONGEST_SPEC: Final = 500


def chosen(name: str, model: str, method: str | None, *, helpers: bool = False) -> Method:
    """The method that a request names by its model or its field `method`.

    Args:
        name: The served model's name.
        model: The model that was asked for.
        method: The field `method`, if it was given.
        helpers: Whether methods may load another model.

    Returns:
        The method; regular where none is named.

    Raises:
        ApiError: 404 for another model; 400 for an unknown method, or two that differ.
    """
    asked, at, suffix = (model, "", "") if model == name else model.rpartition("@")
    if not at and model == name:
        asked = name
    if asked != name:
        raise ApiError(
            404,
            f"The model {model[:200]!r} is not served here; {name!r} is. Methods are written "
            f"{name}@ritual:alpha=3.",
            param="model",
            code="model_not_found",
        )
    by_name = created(suffix, "model", helpers=helpers) if at else None
    by_field = created(method, "method", helpers=helpers) if method is not None else None
    if by_name is not None and by_field is not None and by_name != by_field:
        raise bad_request(
            f"The model's name asks for {by_name.spec} and the field method for {by_field.spec}. "
            "Name one.",
            "method",
        )
    return by_name or by_field or methods.create("regular")


def created(spec: str, param: str, *, helpers: bool = False) -> Method:
    """A registered method from a client's text.

    Args:
        spec: The text.
        param: Where in the request it stands.
        helpers: Whether it may load another model.

    Raises:
        ApiError: 400, with what would have been right; a client never names a model.
    """
    if len(spec) > _LONGEST_SPEC:
        raise bad_request(f"A method is written in at most {_LONGEST_SPEC} characters.", param)
    try:
        method = methods.create(spec)
    except MethodError as error:
        raise from_user_error(error, param) from None
    for part in _parts(method):
        for field in dataclasses.fields(part):
            if field.metadata.get("loads") and getattr(part, field.name) != field.default:
                raise bad_request(
                    f"{part.name}: {field.name} names a model to load, which is for whoever runs "
                    "the server to choose.",
                    param,
                    "invalid_method",
                )
    if method.helper and not helpers:
        raise bad_request(
            f"{method.name} loads {method.helper}; this server was started without "
            "--allow-helpers.",
            param,
            "invalid_method",
        )
    return method


def _parts(method: Method) -> tuple[Method, ...]:
    return method.parts if isinstance(method, Combination) else (method,)


def listing(name: str, created_at: int, *, helpers: bool = False) -> list[dict[str, Any]]:
    """All models as ``/v1/models`` lists them: the served one, then one for each method."""
    plain = model_object(name, name, methods.create("regular"), created_at)
    return [
        plain,
        *(
            model_object(f"{name}@{one}", name, methods.create(one), created_at)
            for one in methods.names()
            if helpers or not methods.get(one).helper
        ),
    ]


def model_object(model_id: str, name: str, method: Method, created_at: int) -> dict[str, Any]:
    """One model as OpenAI's clients read it, with the method's parameters beside."""
    return {
        "id": model_id,
        "object": "model",
        "created": created_at,
        "owned_by": "secondsight",
        "root": name,
        "secondsight": {"method": method.spec, **described(method), "defaults": DEFAULTS},
    }


DEFAULTS: Final[Mapping[str, Any]] = {
    "temperature": 0.0,
    "top_p": 1.0,
    "max_completion_tokens": 512,
    "repetition_penalty": 1.0,
    "seed": 0,
}
"""What holds for a field that a request leaves out; OpenAI's own temperature would be 1."""


def described(method: Method) -> dict[str, Any]:
    """A method as plain data: its summary, source, whether it is a control, its parameters."""
    parts = _parts(method)
    summary = inspect.cleandoc(method.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return {
        "name": method.name,
        "summary": summary,
        "source": method.source,
        "control": method.control,
        "parameters": [
            {
                "name": field.name if len(parts) == 1 else f"{part.name}.{field.name}",
                "default": field.default,
                "help": field.metadata.get("help", ""),
                "low": field.metadata.get("low"),
                "high": field.metadata.get("high"),
            }
            for part in parts
            for field in dataclasses.fields(part)
            if field.default is not dataclasses.MISSING and not field.metadata.get("loads")
        ],
    }
