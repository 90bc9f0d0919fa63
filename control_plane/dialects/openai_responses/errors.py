"""Error documents of the dialect (OpenAI's own), and the two ways in which a stream reports one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from control_plane.dialects.canon import Failure, FailureClass
from control_plane.dialects.openai_errors import document, error_payload, in_stream, read_error, write_error

__all__ = ["document", "error_event", "error_payload", "in_stream", "read_error", "response_error", "write_error"]

_CODES: Final[Mapping[FailureClass, str]] = {
    "rate_limited": "rate_limit_exceeded",
    "quota_spent": "insufficient_quota",
    "client_fault": "invalid_prompt",
    "context_too_long": "context_length_exceeded",
    "content_policy": "invalid_prompt",
}


def response_error(failure: Failure) -> dict[str, Any]:
    """`error` of a failed response."""
    return {"code": _CODES.get(failure.kind, "server_error"), "message": failure.message}


def error_event(failure: Failure) -> dict[str, Any]:
    """The `error` event. Its fields are at the top level in the reference and under `error` on the wire, and the official SDK
    raises for the latter only: so both."""
    error: dict[str, Any] = document(failure)["error"]
    return {"type": "error", "code": error["code"], "message": error["message"], "param": error["param"], "error": error}
