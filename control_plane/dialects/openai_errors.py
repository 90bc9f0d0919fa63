"""Error documents that OpenAI's dialects share (https://platform.openai.com/docs/guides/error-codes)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import failures
from control_plane.dialects.canon import Failure, FailureClass

_TYPES: Final[Mapping[FailureClass, str]] = {
    "rate_limited": "rate_limit_error",
    "quota_spent": "insufficient_quota",
    "credential_dead": "server_error",
    "client_fault": "invalid_request_error",
    "context_too_long": "invalid_request_error",
    "content_policy": "invalid_request_error",
    "transient": "server_error",
    "unreadable": "server_error",
}
_CODES: Final[Mapping[FailureClass, str]] = {
    "rate_limited": "rate_limit_exceeded",
    "quota_spent": "insufficient_quota",
    "credential_dead": failures.EXHAUSTED,
    "context_too_long": "context_length_exceeded",
    "content_policy": "content_policy_violation",
}

_CLIENT_CODES: Final = frozenset(("invalid_prompt", "context_length_exceeded", "content_policy_violation"))
"""Codes in a stream that say: another try of the same request fails too."""


def document(failure: Failure) -> dict[str, Any]:
    return {
        "error": {
            "message": failure.message,
            "type": _TYPES[failure.kind],
            "param": failure.param,
            "code": _CODES.get(failure.kind) or failure.code,
        }
    }


def write_error(failure: Failure) -> bytes:
    return msgspec.json.encode(document(failure))


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    error, text = failures.error_document(body)
    return failures.failure(status, _code(error), failures.message_of(error, text), _param(error), headers)


def in_stream(error: object) -> Failure:
    """The failure that an `error` inside a 200 answer describes; its status is taken from the code where that is one."""
    document: Mapping[str, Any] = error if isinstance(error, dict) else {}
    code = _code(document)
    status = next((s for key in ("status_code", "code", "status") if (s := _status(document.get(key))) is not None), None)
    if status is None:
        kind = f"{code} {document.get('type')}"
        ours = "invalid_request" in kind or code in _CLIENT_CODES
        status = 429 if "rate" in kind or "quota" in kind else 400 if ours else 500
    return failures.failure(status, code, failures.message_of(document, error if isinstance(error, str) else ""), _param(document))


def error_payload(data: bytes) -> object:
    """What the data of an `error` event says: the object under `error` where there is one, text that is no JSON as text."""
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return data[:2000].decode(errors="replace")
    return (value.get("error") or value) if isinstance(value, dict) else str(value)


def _status(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if type(value) is int and 400 <= value <= 599 else None


def _code(error: Mapping[str, Any]) -> str | None:
    return failures.text_of(error.get("code")) or failures.text_of(error.get("type"))


def _param(error: Mapping[str, Any]) -> str | None:
    value = error.get("param")
    return value if isinstance(value, str) else None
