"""What an error can mean. Imports nothing, so that specs can name the classes."""

from __future__ import annotations

from typing import Final, Literal, get_args

FailureClass = Literal[
    "transient", "rate_limited", "quota_spent", "credential_dead", "client_fault", "context_too_long", "content_policy", "unreadable"
]
FAILURE_CLASSES: Final[tuple[FailureClass, ...]] = get_args(FailureClass)

RETRYABLE_ELSEWHERE: Final[frozenset[str]] = frozenset({"transient", "rate_limited", "quota_spent", "credential_dead", "unreadable"})
