"""Thought signatures as clients carry them: base64 of what sealed the thought.

Gemini's own stay as they are. A seal of another vendor is written as base64 of "headgate.<dialect>.<signature>", since clients decode
the field and may write it back in the other alphabet of base64.
"""

from __future__ import annotations

import base64
import binascii

from control_plane.dialects.canon import (
    RedactedReasoning,
    RedactedThinking,
    seal_redacted,
    seal_signature,
    unseal_redacted,
    unseal_signature,
)
from control_plane.dialects.gemini_generate_content.vocabulary import NAME


def for_client(signature: str, origin: str | None) -> str:
    return signature if origin == NAME else _encoded(seal_signature(signature, origin))


def redacted_for_client(event: RedactedReasoning) -> str:
    return event.data if event.origin == NAME else _encoded(seal_redacted(event.data, event.origin, event.id))


def is_own(value: str) -> bool:
    """Whether it may be shown to Gemini: nothing that another vendor sealed."""
    return not _decoded(value).startswith("headgate.")


def read(value: str) -> tuple[str | None, str | None] | RedactedThinking:
    """(signature, origin), or another vendor's encrypted reasoning; (None, None) for an empty seal."""
    seal = _decoded(value)
    if not seal.startswith("headgate."):
        return (value, NAME) if value else (None, None)
    redacted = unseal_redacted(seal, NAME)
    return redacted if redacted is not None else unseal_signature(seal, NAME)


def _encoded(seal: str) -> str:
    return base64.b64encode(seal.encode()).decode()


def _decoded(value: str) -> str:
    text = value.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
