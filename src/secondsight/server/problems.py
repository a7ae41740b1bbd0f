"""What went wrong, in the form and with the status that OpenAI's clients understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import JSONResponse

from secondsight.errors import (
    ExhaustedError,
    ImageError,
    MethodError,
    QuestionError,
    UnsupportedError,
    UserError,
)

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_LONGEST: Final = 2000
"""A message may quote what a client sent; this much of it is enough."""


class ApiError(Exception):
    """An answer that could not be given.

    A client's fault is never 5xx, because clients send those again.

    Attributes:
        status: The HTTP status.
        message: What was wrong, and what to do.
        param: The field of the request that was wrong.
        code: A word for programs.
        headers: Further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message if len(message) <= _LONGEST else message[:_LONGEST] + " ..."
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error object."""
        server = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": _KINDS.get(self.status, server),
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        """The whole response."""
        return JSONResponse(self.body(), self.status, self.headers)


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """The client's fault: 400."""
    return ApiError(400, message, param=param, code=code)


def busy(message: str, seconds: float) -> ApiError:
    """Too many requests: 429, and when to come again."""
    wait = str(max(1, min(120, round(seconds))))  # clients wait for at most two minutes
    return ApiError(429, message, code="queue_full", headers={"retry-after": wait})


def unavailable(message: str, code: str, seconds: float) -> ApiError:
    """Not now: 503, and when to come again."""
    wait = str(max(1, min(120, round(seconds))))
    return ApiError(503, message, code=code, headers={"retry-after": wait})


def from_user_error(error: UserError, param: str | None = None) -> ApiError:
    """An error of the library that the one who asked can mend."""
    if isinstance(error, ImageError):
        return bad_request(str(error), param or "messages", "invalid_image")
    if isinstance(error, MethodError):
        return bad_request(str(error), param or "method", "invalid_method")
    if isinstance(error, QuestionError):
        long = "context" in str(error)
        code = "context_length_exceeded" if long else "invalid_question"
        return bad_request(str(error), param or "messages", code)
    if isinstance(error, UnsupportedError):
        return bad_request(str(error), param, "unsupported")
    return bad_request(str(error), param)


def from_failure(error: BaseException, request_id: str) -> ApiError:
    """Anything that ended a request, as what its client is told."""
    if isinstance(error, ApiError):
        return error
    again = {"x-should-retry": "false"}
    if type(error).__name__ == "OutOfMemoryError" or isinstance(
        error, MemoryError | ExhaustedError
    ):
        return ApiError(
            503,
            "The device's memory does not hold this request. Ask for fewer images or tokens.",
            code="out_of_memory",
            headers=again,
        )
    if isinstance(error, UserError):
        return from_user_error(error)
    return ApiError(
        500,
        f"The server failed at this request; its log has the reason under {request_id}.",
        code="internal_error",
        headers=again,
    )
