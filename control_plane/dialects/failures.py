"""Reading what a provider's error means, whatever the dialect: the class decides whether another target is tried.

The rules are data (`fault_table`). What one vendor alone says stands in its preset (`error_rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import rate_limits
from control_plane.dialects.canon import Failure, FailureClass
from control_plane.dialects.fault_table import kind_of, rules_of

MESSAGE_LIMIT_CHARS: Final = 2000
"""Longer vendor texts are cut: an error must not carry a page of HTML or an echo of the prompt."""

EXHAUSTED: Final = "upstream_credentials_exhausted"
KEY_REFUSED: Final = f"{EXHAUSTED}: the provider refused the gateway's own credentials; those of the caller are not at fault"
"""Stands for the text of a credential error: vendors echo parts of the key."""

EXHAUSTED_STATUS: Final = 502
"""No 401: a client would think that its own key is dead, and change it."""


def classify(status: int, code: str | None, message: str, dialect: str = "", body: str = "") -> FailureClass:
    """The class of an error by its HTTP status, its code or type, its words, and where a rule of the dialect asks for it its body."""
    found = kind_of(rules_of(dialect), status, (code,) if code else (), message[: 4 * MESSAGE_LIMIT_CHARS], body)
    return found or "unreadable"


def failure(
    status: int,
    code: str | None,
    message: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    dialect: str = "",
    body: str = "",
) -> Failure:
    """A classified failure, its text replaced where it may show a key. A prompt that is too long is no 429: that would be tried again."""
    kind = classify(status, code, message, dialect, body)
    if kind == "credential_dead":
        message = KEY_REFUSED
    if kind == "context_too_long" and status == 429:
        status = 400
    text = message[:MESSAGE_LIMIT_CHARS] or f"the provider answered {status}"
    return Failure(kind, status if 400 <= status <= 599 else 502, text, code, param, retry_after(headers) if headers else None)


def exhausted(failure: Failure) -> Failure:
    """What clients are told of `failure`: refused credentials are the gateway's, so no client shall take its own for dead."""
    if failure.kind != "credential_dead":
        return failure
    return msgspec.structs.replace(failure, status=EXHAUSTED_STATUS, message=KEY_REFUSED, code=EXHAUSTED)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after`: seconds, a duration, or a time, compared with the answer's own `date`."""
    if (value := headers.get("retry-after-ms")) is not None:
        found = rate_limits.reset_s(value, None)
        return None if found is None else found / 1000
    value = headers.get("retry-after")
    return None if value is None else rate_limits.reset_s(value, headers.get("date"))


def error_document(body: bytes) -> tuple[dict[str, Any], str]:
    """(the object that describes the error, plain text when there is none).

    Understands `{"error": {…}}`, `{"error": "…"}`, `[{"error": …}]`, `{"message": …}`, `{"detail": …}` and text.
    """
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        text = body[: 4 * MESSAGE_LIMIT_CHARS].decode(errors="replace").strip()
        return {}, "" if text.startswith("<") else text
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return {}, value if isinstance(value, str) else ""
    inner = value.get("error", value)
    if isinstance(inner, dict):
        return inner, ""
    if isinstance(inner, str):
        return value, inner
    return value, ""


def text_of(value: object) -> str | None:
    """A code or type as text; vendors send strings and numbers."""
    if isinstance(value, str) and value:
        return value
    return str(value) if type(value) is int else None


def message_of(document: Mapping[str, Any], text: str) -> str:
    for key in ("message", "detail", "error_description", "msg"):
        value = document.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and isinstance(value[0], dict) and isinstance(value[0].get("msg"), str):
            return str(value[0]["msg"])
    return text
