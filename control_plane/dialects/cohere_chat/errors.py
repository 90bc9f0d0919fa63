"""Error documents of the dialect: `{"id": …, "message": …}` (https://docs.cohere.com/reference/errors)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from control_plane.dialects import failures
from control_plane.dialects.canon import Failure, FailureClass

_BLOCKED_STATUS: Final = 498
"""The vendor blocked the input or the output."""

_TOO_LONG: Final = re.compile(r"TOO_MANY_TOKENS|too many tokens: size limit exceeded")
_SPENT: Final = re.compile(r"limited to \d+ API calls / month|update your payment method", re.IGNORECASE)
"""Of a trial key. Its limit per minute has the same words before and after."""


def document(failure: Failure) -> dict[str, str]:
    message = failure.message
    if failure.param and failure.param not in message:
        message = f"{failure.param}: {message}"
    return {"message": message}


def write_error(failure: Failure) -> bytes:
    return msgspec.json.encode(document(failure))


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    error, text = failures.error_document(body)
    code = failures.text_of(error.get("error_type"))
    found = failures.failure(status, code, failures.message_of(error, text), None, headers)
    kind = _kind(status, code, found)
    if kind is None:
        return found
    # A blocked prompt is no mistake in its form, yet the status of this vendor is nobody else's.
    return msgspec.structs.replace(found, kind=kind, status=400 if status == _BLOCKED_STATUS else found.status)


def _kind(status: int, code: str | None, found: Failure) -> FailureClass | None:
    if found.kind == "credential_dead":
        return None
    if status == _BLOCKED_STATUS:
        return "content_policy"
    if _TOO_LONG.search(f"{code} {found.message}"):
        return "context_too_long"
    return "quota_spent" if _SPENT.search(found.message) else None


def in_stream(message: str | None, reason: str) -> Failure:
    """The failure that an answer with finish reason `reason` describes."""
    return failures.failure(504 if reason == "TIMEOUT" else 500, reason, message or f"the model ended with {reason}")
