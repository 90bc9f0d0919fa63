"""Error documents of the dialect: google.rpc.Status as JSON (https://ai.google.dev/gemini-api/docs/troubleshooting)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import failures
from control_plane.dialects.canon import Failure

_STATUS_OF: Final[Mapping[str, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_DELAY: Final = re.compile(r"(\d{1,7}(?:\.\d{1,9})?)s")


_WORD_OF: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE: Final = "type.googleapis.com/google.rpc."


def write_error(failure: Failure) -> bytes:
    """The document with this status; a named field and a time to wait stand in its details."""
    message = failure.message
    if failure.param and failure.param not in message:
        message = f"{failure.param}: {message}"
    word = _WORD_OF.get(failure.status) or ("INVALID_ARGUMENT" if failure.status < 500 else "UNAVAILABLE")
    error: dict[str, Any] = {"code": failure.status, "message": message, "status": word}
    details: list[dict[str, Any]] = []
    if failure.param:
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [{"field": failure.param, "description": failure.message}]})
    if failure.code:
        details.append({"@type": f"{_TYPE}ErrorInfo", "reason": failure.code, "domain": "headgate"})
    if failure.retry_after is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{failure.retry_after:g}s"})
    if details:
        error["details"] = details
    return msgspec.json.encode({"error": error})


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    error, text = failures.error_document(body)
    return _failure(status, error, text, headers)


def in_stream(error: object) -> Failure:
    """The failure that an `error` inside a 200 answer describes; its status is its `code`, else follows from its `status` word."""
    document: Mapping[str, Any] = error if isinstance(error, dict) else {}
    code = document.get("code")
    if type(code) is not int or not 400 <= code <= 599:
        code = _STATUS_OF.get(str(document.get("status")), 500)
    return _failure(code, document, error if isinstance(error, str) else "", {})


def _failure(status: int, error: Mapping[str, Any], text: str, headers: Mapping[str, str]) -> Failure:
    details = [item for item in _items(error.get("details")) if isinstance(item, dict)]
    word = failures.text_of(error.get("status")) or failures.text_of(error.get("code"))
    body = msgspec.json.encode(error).decode()
    found = failures.failure(status, word, failures.message_of(error, text), None, headers, "gemini-generate-content", body)
    if found.retry_after is None and (delay := _retry_delay(details)) is not None:
        return msgspec.structs.replace(found, retry_after=delay)
    return found


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _of_type(details: list[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    return (item for item in details if str(item.get("@type")).endswith(f"google.rpc.{name}"))


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    """Seconds of RetryInfo's `retryDelay`, a protobuf duration ("34s", "0.5s")."""
    for item in _of_type(details, "RetryInfo"):
        if found := _DELAY.fullmatch(str(item.get("retryDelay"))):
            return float(found[1])
    return None
