"""Error documents of the dialect (https://platform.claude.com/docs/en/api/errors)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import failures
from control_plane.dialects.canon import Failure, FailureClass

_BY_KIND: Final[Mapping[FailureClass, str]] = {
    "rate_limited": "rate_limit_error",
    "quota_spent": "billing_error",
    "context_too_long": "invalid_request_error",
    "content_policy": "invalid_request_error",
    "unreadable": "api_error",
}
_BY_STATUS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUS_OF_TYPE: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def error_type(failure: Failure) -> str:
    found = _BY_KIND.get(failure.kind) or _BY_STATUS.get(failure.status)
    return found or ("invalid_request_error" if failure.kind == "client_fault" else "api_error")


def write_error(failure: Failure) -> bytes:
    message = failure.message
    if failure.param and failure.param not in message:
        message = f"{failure.param}: {message}"
    return msgspec.json.encode({"type": "error", "error": {"type": error_type(failure), "message": message}})


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    error, text = failures.error_document(body)
    code = failures.text_of(error.get("type")) or failures.text_of(error.get("code"))
    return failures.failure(status, code, failures.message_of(error, text), None, headers)


def in_stream(error: object) -> Failure:
    """The failure that an `error` event inside a 200 answer describes; its status follows from the type."""
    document: Mapping[str, Any] = error if isinstance(error, dict) else {}
    code = failures.text_of(document.get("type"))
    return failures.failure(
        _STATUS_OF_TYPE.get(code or "", 500), code, failures.message_of(document, error if isinstance(error, str) else "")
    )
