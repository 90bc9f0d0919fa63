"""Error documents of the dialect: `{"id": …, "message": …}` (https://docs.cohere.com/reference/errors)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from control_plane.dialects import failures
from control_plane.dialects.canon import Failure

_BLOCKED_STATUS: Final = 498
"""The vendor blocked the input or the output."""


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
    found = failures.failure(status, code, failures.message_of(error, text), None, headers, "cohere-chat")
    # A blocked prompt is no mistake in its form, yet the status of this vendor is nobody else's.
    return msgspec.structs.replace(found, status=400) if status == _BLOCKED_STATUS else found


def in_stream(message: str | None, reason: str) -> Failure:
    """The failure that an answer with finish reason `reason` describes."""
    return failures.failure(504 if reason == "TIMEOUT" else 500, reason, message or f"the model ended with {reason}")
