"""Reading what a provider's error means, whatever the dialect: the class decides whether another target is tried.

The words looked for are those of the dialects' inventors and of servers that anybody runs: Anthropic answers an empty account with 400,
Google a wrong key with 400 and an oversized prompt with 429. What one vendor alone says stands in its preset (`error_rules`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import rate_limits
from control_plane.dialects.canon import Failure, FailureClass

MESSAGE_LIMIT_CHARS: Final = 2000
"""Longer vendor texts are cut: an error must not carry a page of HTML or an echo of the prompt."""

_CONTEXT: Final = re.compile(
    r"context[ _]length|context window|max(?:imum)? context|prompt (?:is )?too long|too many (?:input|prompt) tokens"
    r"|input (?:is )?too long|exceeds? the (?:model'?s )?(?:max|token|context)"
    r"|request_too_large|string_above_max_length|token limit reached|input token count",
    re.IGNORECASE,
)
_KEY: Final = re.compile(
    r"invalid_api_key|authentication_error|account_deactivated|api key (?:not valid|expired|not found)",
    re.IGNORECASE,
)
_QUOTA: Final = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance is too low|billing|insufficient (?:balance|credits|funds)"
    r"|quota_exceeded|payment required",
    re.IGNORECASE,
)
_POLICY: Final = re.compile(
    r"content[_ ](?:policy|filter|management)|responsibleaipolicy|safety (?:system|policy)|content violates|usage polic", re.IGNORECASE
)
KEY_REFUSED: Final = "the provider refused the gateway's credentials"
"""Stands for the text of a credential error: vendors echo parts of the key."""


def classify(status: int, code: str | None, message: str) -> FailureClass:
    """The class of an error by its HTTP status, its code or type, and its words."""
    words = f"{code or ''} {message[: 4 * MESSAGE_LIMIT_CHARS]}"
    if status == 400 and code == "model_not_found":  # OpenAI's Responses
        return "transient"  # the upstream model name is the operator's, not the client's, and another target may have it
    if status in (401, 403):
        return "content_policy" if _POLICY.search(words) else "credential_dead"
    if status == 402:
        return "quota_spent"
    if status in (400, 413, 422, 429):
        if _QUOTA.search(words):
            return "quota_spent"
        if status == 413 or _CONTEXT.search(words):
            return "context_too_long"
        if status == 429:
            return "rate_limited"
        if _KEY.search(words):
            return "credential_dead"
        return "content_policy" if _POLICY.search(words) else "client_fault"
    if status == 404 or status >= 500 or status in (408, 409, 425):
        return "transient"  # 404: as above
    return "client_fault" if 400 <= status < 500 else "unreadable"


def failure(status: int, code: str | None, message: str, param: str | None = None, headers: Mapping[str, str] | None = None) -> Failure:
    """A classified failure, its text replaced where it may show a key. A prompt that is too long is no 429: that would be tried again."""
    kind = classify(status, code, message)
    if kind == "credential_dead":
        message = KEY_REFUSED
    if kind == "context_too_long" and status == 429:
        status = 400
    text = message[:MESSAGE_LIMIT_CHARS] or f"the provider answered {status}"
    return Failure(kind, status if 400 <= status <= 599 else 502, text, code, param, retry_after(headers) if headers else None)


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
