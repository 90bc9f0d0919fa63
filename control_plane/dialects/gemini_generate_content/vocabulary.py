"""Words of the dialect: its name, stop reasons, which generation of models a name means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from control_plane.dialects.canon import StopReason

NAME: Final = "gemini-generate-content"
METHODS: Final = (":generateContent", ":streamGenerateContent")
"""How a path ends that asks for a whole answer, and one that asks for a stream."""

STOP_TO_CANON: Final[Mapping[str, StopReason]] = {
    "STOP": "end",  # a stop sequence ends an answer with the same word
    "MAX_TOKENS": "max_tokens",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""Any other word (LANGUAGE, OTHER, what is new) is `other`."""

STOP_TO_WIRE: Final[Mapping[StopReason, str]] = {
    "end": "STOP",
    "max_tokens": "MAX_TOKENS",
    "stop_sequence": "STOP",
    "tool_use": "STOP",
    "refusal": "SAFETY",
    "content_filter": "SAFETY",
    "pause": "STOP",
    "context_window": "MAX_TOKENS",
    "other": "OTHER",
}

WIRE_STOPS: Final = frozenset({*STOP_TO_CANON, "LANGUAGE", "OTHER", "IMAGE_OTHER", "NO_IMAGE"})
"""Words that an answer may end with."""

FAILED_STOPS: Final = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"})
"""The model wrote something that the server could not use: there is no answer, and another try may well succeed."""

UNCHECKED_SIGNATURE: Final = "skip_thought_signature_validator"
"""What Google's documentation (thought signatures, FAQ) says to send for a call that no Gemini model signed."""

_GENERATION: Final = re.compile(r"gemini-(\d{1,3})(?:\.(\d{1,3}))?(?![\d.])")


def generation(model: str) -> tuple[int, int]:
    """(2, 5) of "gemini-2.5-flash-lite"; the newest known of an alias like "gemini-flash-latest"; (0, 0) of any other name."""
    if found := _GENERATION.search(model):
        return int(found[1]), int(found[2] or 0)
    return (3, 0) if "gemini" in model and model.endswith("-latest") else (0, 0)
